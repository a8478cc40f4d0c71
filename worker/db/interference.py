"""What else has a say in what a batch writes: triggers, rules, policies, constraints of the platform."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import LiteralString

import psycopg
import sqlalchemy as sa

from worker.db.bulk import driver

_IS_WATCHED = sa.text(
    """
    WITH RECURSIVE written (relation) AS (
        SELECT name::regclass::oid FROM unnest(ARRAY[
            'bots', 'bot_workflow_versions', 'workflow_execution_runs', 'workflow_node_executions',
            'flowshift.backups'
        ]) AS name
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
    """Whether something may suppress or change what a batch writes.

    Triggers that are enabled, rules and row level security, of the platform's four tables, of their
    partitions, and of our backups. If there is nothing of the kind, what a statement says it
    wrote is what is there.
    """
    return bool(connection.scalar(_IS_WATCHED))


def bots_not_lockable(connection: sa.Connection, bot_ids: Sequence[str]) -> frozenset[str]:
    """Which of these bots can be read, and not be locked: a policy hides them from updates.

    Empty if another transaction has locked one of them: nothing is known then.
    """
    return _not_lockable(connection, "bots WHERE bot_id = ANY(%s)", "FOR NO KEY UPDATE", bot_ids)


def drafts_not_lockable(connection: sa.Connection, bot_ids: Sequence[str]) -> frozenset[str]:
    """The bots among these whose drafts can be read, and not be locked; empty as above."""
    drafts = "bot_workflow_versions WHERE bot_id = ANY(%s) AND status = 'draft'"
    return _not_lockable(connection, drafts, "FOR UPDATE", bot_ids)


def _not_lockable(
    connection: sa.Connection, rows: LiteralString, lock: LiteralString, bot_ids: Sequence[str]
) -> frozenset[str]:
    if not bot_ids:
        return frozenset()
    query = f"SELECT bot_id::varchar FROM {rows} {lock} NOWAIT"  # noqa: S608  (constants)
    try:
        with connection.begin_nested(), driver(connection).cursor() as cursor:
            cursor.execute(query, [list(bot_ids)])
            return frozenset(bot_ids) - {bot_id for (bot_id,) in cursor.fetchall()}
    except psycopg.errors.LockNotAvailable:
        return frozenset()


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
