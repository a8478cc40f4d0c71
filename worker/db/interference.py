"""What else has a say in what a batch writes: the platform's triggers, rules, policies, constraints."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import sqlalchemy as sa

from worker.db.bulk import driver

_IS_WATCHED = sa.text(
    """
    WITH RECURSIVE written (relation) AS (
        SELECT name::regclass::oid FROM unnest(ARRAY['bots', 'bot_workflow_versions']) AS name
        UNION
        SELECT i.inhrelid FROM pg_inherits i JOIN written w ON i.inhparent = w.relation
    )
    SELECT EXISTS (
        SELECT FROM written w JOIN pg_class c ON c.oid = w.relation
        WHERE c.relrowsecurity
           OR EXISTS (SELECT FROM pg_trigger t
                      WHERE t.tgrelid = c.oid AND NOT t.tgisinternal AND t.tgenabled <> 'D')
           OR EXISTS (SELECT FROM pg_rewrite r WHERE r.ev_class = c.oid AND r.ev_type <> '1')
    )
    """
)


def is_watched(connection: sa.Connection) -> bool:
    """Whether something of the platform's may suppress or change what is written to its tables.

    Triggers that are enabled, rules and row level security, of the tables of bots and of versions
    and of their partitions. Where there is nothing of the kind, what a statement says it wrote is
    what is there.
    """
    return bool(connection.scalar(_IS_WATCHED))


@contextmanager
def constraints_immediate(connection: sa.Connection) -> Iterator[None]:
    """Within the block every deferred constraint and constraint trigger has had its say.

    What would be refused at COMMIT is refused here, as an error. Afterwards the constraints are
    deferred as they were, and are checked once more at COMMIT: a rolled back savepoint takes back
    that they were checked, and nothing else, so the block must only read.

    Raises:
        psycopg.Error: a constraint refuses what was written. Roll back to a savepoint.
    """
    with driver(connection).cursor() as cursor:
        cursor.execute("SAVEPOINT flowshift_immediate; SET CONSTRAINTS ALL IMMEDIATE")
        yield
        cursor.execute(
            "ROLLBACK TO SAVEPOINT flowshift_immediate; RELEASE SAVEPOINT flowshift_immediate"
        )
