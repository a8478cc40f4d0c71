"""Roll back the bots of a batch: V1 answers again where the live version is still ours.

    lock (bots, our versions) ─► read ─► V1 that has changed: does it run? ─► flag ─► our row, counters

Only the platform's flag changes. Versions and drafts stay as they are: the platform numbers versions
by those that are published, and a version that was archived would not be taken back.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, Final, Literal

import msgspec
import sqlalchemy as sa
from psycopg import sql

from worker.core.publication.states import BOT_TRANSITIONS, states_before
from worker.core.workflow import v1
from worker.core.workflow.text import MAX_BYTES
from worker.db.bulk import BytesLoader, driver
from worker.db.publication.content import workflow_hash
from worker.db.publication.locks import lock_bots, lock_rows

Back = Literal["rolled_back", "superseded", "no_way_back", "busy"]
V1Problem = Callable[[bytes], str]
"""Why V1 does not run a workflow, from the column's text in UTF-8; "" where it does."""


class Returned(msgspec.Struct, frozen=True):
    """What happened to a bot.

    `rolled_back`: V1 answers (again), or the bot is gone. `superseded`: a version that this
    publication did not make is live, and stays so. `no_way_back`: V1 is gone or does not run, and
    the version stays. `busy`: another session has it locked, and it comes again.
    """

    bot_id: str
    state: Back


class Place(msgspec.Struct, frozen=True):
    """Where a list of live bots goes on: after this bot of this wave."""

    wave: int
    bot_id: str


# Who publishes in the platform at this moment archives the version that is live: ours.
_LOCK_OURS: Final = """
    SELECT v.id FROM flowshift.publication_bots p
    JOIN bot_workflow_versions v ON v.id = p.version_id
    WHERE p.publication_id = %s AND p.bot_id = ANY(%s)
    FOR NO KEY UPDATE OF v SKIP LOCKED
"""

# V1 that has not changed since it was published runs: it did then. Of the others the text is read.
_READ: Final = f"""
    SELECT p.bot_id::varchar, b.bot_id IS NOT NULL, p.version_id, v.id, b.use_workflow_v2,
           b.workflow IS NULL, {workflow_hash("b")} IS DISTINCT FROM p.workflow_hash
    FROM flowshift.publication_bots p
    LEFT JOIN bots b ON b.bot_id = p.bot_id
    LEFT JOIN LATERAL (
        SELECT o.id FROM bot_workflow_versions o
        WHERE o.bot_id = b.bot_id AND o.status::text = 'published'
        ORDER BY o.published_at DESC NULLS FIRST LIMIT 1) v ON true
    WHERE p.publication_id = %s AND p.bot_id = ANY(%s)
    ORDER BY p.bot_id
"""  # noqa: S608  (constants)

_READ_V1: Final = """
    SELECT b.bot_id::varchar,
           CASE WHEN octet_length(b.workflow::text) <= {max_bytes} THEN b.workflow::text END
    FROM bots b WHERE b.bot_id = ANY(%s)
"""
_PAGE: Final = 20

_FLAG: Final = """
    UPDATE bots SET use_workflow_v2 = false WHERE bot_id = ANY(%s) AND use_workflow_v2
"""

_NOTE: Final = """
    UPDATE flowshift.publication_bots p SET state = n.state, message = %s, moved_at = now()
    FROM unnest(%s::text[], %s::text[]) AS n (bot_id, state)
    WHERE p.publication_id = %s AND p.bot_id = n.bot_id
    RETURNING p.wave, p.state
"""

_COUNT: Final = """
    UPDATE flowshift.waves w
    SET rolled_back = w.rolled_back + n.rolled_back, quarantined = w.quarantined + n.quarantined
    FROM unnest(%s::int[], %s::int[], %s::int[]) AS n (wave, rolled_back, quarantined)
    WHERE w.publication_id = %s AND w.number = n.wave
"""


def roll_back_bots(
    connection: sa.Connection,
    publication_id: int,
    bot_ids: Sequence[str],
    *,
    v1_problem: V1Problem,
    note_as: Literal["rolled_back", "quarantined"] = "rolled_back",
    message: str | None = None,
) -> list[Returned]:
    """Give these bots back to V1; returns what happened to each, by id.

    Bots that this publication has not live are left out (and to be quarantined, those that are
    confirmed): on repeat nothing changes. Neither Redis nor a worker is needed, and no state of the
    publication: a rollback is always allowed. Our row says `note_as` and `message`, and the wave's
    counters follow. Set-based, and nothing waits for a row of the platform's that is locked.

    Whether V1 runs is decided while the bot's row is locked: `v1_problem` is asked only where V1 is
    not the text that was seen to run when the bot was published.
    """
    ids = lock_rows(connection, publication_id, bot_ids, states_before(BOT_TRANSITIONS, note_as))
    if not ids:
        return []
    locked = lock_bots(connection, ids)
    with driver(connection).cursor() as cursor:
        cursor.execute(_LOCK_OURS, [publication_id, sorted(locked)])
        versions = {version_id for (version_id,) in cursor.fetchall()}
        cursor.execute(_READ, [publication_id, ids])
        rows = list(dict.fromkeys(cursor.fetchall()))
    broken = _broken(connection, rows, locked, v1_problem)
    returned = [Returned(row[0], _back(row, locked, versions, broken)) for row in rows]
    back = [one.bot_id for one in returned if one.state == "rolled_back"]
    gone = [one.bot_id for one in returned if one.state == "superseded"]
    states = [note_as] * len(back) + ["superseded"] * len(gone)
    with driver(connection).cursor() as cursor:
        cursor.execute(_FLAG, [back])
        cursor.execute(_NOTE, [message, back + gone, states, publication_id])
        _count(connection, publication_id, Counter(cursor.fetchall()))
    return returned


def _back(
    row: tuple[Any, ...], locked: frozenset[str], versions: set[Any], broken: frozenset[str]
) -> Back:
    bot_id, exists, ours, live, uses_v2, *_ = row
    if not exists:
        return "rolled_back"
    if bot_id not in locked or (ours == live and ours not in versions):
        return "busy"
    if ours != live:
        return "superseded"
    return "no_way_back" if uses_v2 and bot_id in broken else "rolled_back"


def _broken(
    connection: sa.Connection,
    rows: Sequence[tuple[Any, ...]],
    locked: frozenset[str],
    v1_problem: V1Problem,
) -> frozenset[str]:
    """Those of the locked bots that use V2, whose V1 is gone or does not run."""
    asked = [row for row in rows if row[0] in locked and row[4]]
    gone = frozenset(row[0] for row in asked if row[5])
    changed = [row[0] for row in asked if row[6] and not row[5]]
    if not changed:
        return gone
    # One page of texts in memory at a time: each may be as large as a workflow may be.
    query = sql.SQL(_READ_V1).format(max_bytes=sql.Literal(MAX_BYTES))
    with driver(connection).cursor("flowshift_v1") as cursor:
        cursor.adapters.register_loader("text", BytesLoader)
        cursor.itersize = _PAGE
        cursor.execute(query, [changed])
        return gone | {
            bot_id
            for bot_id, text in cursor
            if text is None or v1.is_json_null(text) or v1_problem(text)
        }


def _count(connection: sa.Connection, publication_id: int, noted: Counter[tuple[int, str]]) -> None:
    waves = sorted({wave for wave, _ in noted})
    with driver(connection).cursor() as cursor:
        cursor.execute(
            _COUNT,
            [
                waves,
                [noted[wave, "rolled_back"] for wave in waves],
                [noted[wave, "quarantined"] for wave in waves],
                publication_id,
            ],
        )


_LIVE: Final = """
    SELECT wave, bot_id::varchar FROM flowshift.publication_bots
    WHERE publication_id = %(id)s AND state IN ('published', 'confirmed')
      AND (%(wave)s::int IS NULL OR wave = %(wave)s)
      AND (%(after_wave)s::int IS NULL OR (wave, bot_id) < (%(after_wave)s, %(after)s))
    ORDER BY wave DESC, bot_id DESC LIMIT %(limit)s
"""


def live_bots(
    connection: sa.Connection,
    publication_id: int,
    *,
    wave: int | None = None,
    after: Place | None = None,
    limit: int,
) -> list[Place]:
    """The bots that a publication has live, or one wave of it, the newest wave first, a page at a time."""
    with driver(connection).cursor() as cursor:
        cursor.execute(
            _LIVE,
            {
                "id": publication_id,
                "wave": wave,
                "after_wave": after and after.wave,
                "after": after and after.bot_id,
                "limit": limit,
            },
        )
        return [Place(*row) for row in cursor.fetchall()]
