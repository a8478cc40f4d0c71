"""What publishing and rolling back lock: a publication's state, bots, and their versions.

Always in this order, and the bots of a batch by their ids, so that two batches never wait for each
other in a circle. Rows that another session has locked are not waited for.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import sqlalchemy as sa

from worker.db.bulk import driver
from worker.errors import StaleError

_SHARED: Final = "pg_advisory_xact_lock_shared"
_ALONE: Final = "pg_advisory_xact_lock"


def lock_state(connection: sa.Connection, publication_id: int, *, alone: bool) -> None:
    """Keep a publication's state as it is until this transaction ends.

    Batches share it. Who changes the state takes it `alone`, and so waits for the batches at work,
    a second at most, and keeps others from beginning: after that no bot is published any more that
    the change was to prevent. Not a lock of the row, whose counters every batch updates.
    """
    lock = _ALONE if alone else _SHARED
    key = f"flowshift.publications {publication_id}"
    connection.execute(sa.text(f"SELECT {lock}(hashtextextended(:key, 0))"), {"key": key})


def need_state(connection: sa.Connection, publication_id: int, *states: str) -> None:
    """Go on only while the publication is in one of these states.

    Raises:
        StaleError: it is in another one, or not there.
    """
    query = sa.text("SELECT state FROM flowshift.publications WHERE publication_id = :id")
    state = connection.execute(query, {"id": publication_id}).scalar_one_or_none()
    if state not in states:
        raise StaleError(f"publication {publication_id} is {state or 'not there'}: nothing to do")


_LOCK_ROWS: Final = """
    SELECT bot_id FROM flowshift.publication_bots
    WHERE publication_id = %s AND bot_id = ANY(%s) AND state = ANY(%s)
    ORDER BY bot_id FOR UPDATE
"""

# The platform's foreign keys to a bot go on; what changes the bot waits.
_LOCK_BOTS: Final = """
    SELECT b.bot_id::varchar FROM bots b WHERE b.bot_id = ANY(%s)
    FOR NO KEY UPDATE SKIP LOCKED
"""

# Who publishes in the platform changes the draft or what is published; who edits, the draft.
_LOCK_VERSIONS: Final = """
    SELECT v.id FROM bot_workflow_versions v
    WHERE v.bot_id = ANY(%s) AND v.status::text IN ('draft', 'published')
    ORDER BY v.bot_id, v.id FOR NO KEY UPDATE SKIP LOCKED
"""

_LOCKED_ELSEWHERE: Final = """
    SELECT DISTINCT v.bot_id::varchar FROM bot_workflow_versions v
    WHERE v.bot_id = ANY(%s) AND v.status::text IN ('draft', 'published') AND NOT v.id = ANY(%s)
"""


def lock_rows(
    connection: sa.Connection, publication_id: int, bot_ids: Sequence[str], states: Sequence[str]
) -> list[str]:
    """Lock our own rows of these bots, those in one of the states; returns whose they are."""
    with driver(connection).cursor() as cursor:
        cursor.execute(_LOCK_ROWS, [publication_id, list(bot_ids), list(states)])
        return [bot_id for (bot_id,) in cursor.fetchall()]


def lock_bots(connection: sa.Connection, bot_ids: Sequence[str]) -> frozenset[str]:
    """Lock those of these bots that can be had at once; returns which."""
    with driver(connection).cursor() as cursor:
        cursor.execute(_LOCK_BOTS, [list(bot_ids)])
        return frozenset(bot_id for (bot_id,) in cursor.fetchall())


def lock_with_versions(connection: sa.Connection, bot_ids: Sequence[str]) -> frozenset[str]:
    """Lock bots, then their drafts and published versions, whatever can be had at once.

    Returns the bots of which all are locked. Read them after this, in a statement of its own: only
    that one sees what was committed just before.
    """
    locked = sorted(lock_bots(connection, bot_ids))
    with driver(connection).cursor() as cursor:
        cursor.execute(_LOCK_VERSIONS, [locked])
        versions = [version_id for (version_id,) in cursor.fetchall()]
        cursor.execute(_LOCKED_ELSEWHERE, [locked, versions])
        return frozenset(locked) - {bot_id for (bot_id,) in cursor.fetchall()}
