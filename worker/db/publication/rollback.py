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

from worker.core.policy.states import states_before
from worker.core.publication.states import BOT_TRANSITIONS
from worker.core.workflow import v1
from worker.core.workflow.text import MAX_BYTES
from worker.db.bulk import BytesLoader, driver
from worker.db.publication.content import workflow_hash
from worker.db.publication.locks import lock_bots

Back = Literal["rolled_back", "superseded", "no_way_back", "busy"]
Note = Literal["rolled_back", "quarantined"]
V1Problem = Callable[[bytes], str]
"""Why V1 does not run a workflow, from the column's text in UTF-8; "" where it does."""


class Returned(msgspec.Struct, frozen=True):
    """What happened to a bot of a wave.

    `rolled_back`: V1 answers (again), or the bot is gone. `superseded`: a version that this
    publication did not make is live, and stays so. `no_way_back`: V1 is gone or does not run, and
    the version stays. `busy`: another session has it locked, and it comes again.
    """

    bot_id: str
    state: Back
    wave: int


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """Bots that a publication has live: of a wave, of those listed, the newest wave first.

    At most `limit`, those that follow `after`. `alongside` leaves out those that another session of
    ours is at, so that several may go through the same bots at once.
    """

    publication_id: int
    wave: int | None = None
    bot_ids: Sequence[str] | None = None
    after: Returned | None = None
    limit: int | None = None
    alongside: bool = False


# The words of states are those that an index is about.
_PART: Final = """
    SELECT p.wave, p.bot_id, p.version_id, p.workflow_hash
    FROM flowshift.publication_bots p
    WHERE p.publication_id = %(id)s AND p.state IN ('published', 'confirmed')
      AND p.state = ANY(%(states)s)
      AND (%(wave)s::int IS NULL OR p.wave = %(wave)s)
      AND (%(bot_ids)s::text[] IS NULL OR p.bot_id = ANY(%(bot_ids)s))
      AND (%(after_wave)s::int IS NULL OR (p.wave, p.bot_id) < (%(after_wave)s, %(after)s))
    ORDER BY p.wave DESC, p.bot_id DESC LIMIT %(limit)s
"""

# The bots of which nothing has changed since, which are most of them, in one statement: ten thousand
# ids take as long to go back and forth as the work itself. And its lists are sub-selects: the
# planner would look up each id of a constant in its statistics. IS TRUE keeps an IN from becoming a
# join, which is by far too slow where the planner expects a few rows.
#
# The live version is ours, and locked before the bot: nobody can publish another one meanwhile. V1 is
# a text that was seen to run. A row that was changed after the statement began is read again when
# it is locked, or its bot is left to the statements below, as is all that is not as it was.
_SWITCH: Final = f"""
    WITH part AS MATERIALIZED ({_PART} {{alongside}}),
    live AS MATERIALIZED (SELECT row_number() OVER () AS place, part.* FROM part),
    published AS MATERIALIZED (
        SELECT v.bot_id, v.id FROM bot_workflow_versions v
        WHERE v.bot_id = ANY(ARRAY(SELECT bot_id FROM live)) AND v.status::text = 'published'
        FOR NO KEY UPDATE SKIP LOCKED
    ), ours AS MATERIALIZED (
        SELECT l.bot_id, l.workflow_hash FROM live l
        WHERE (l.version_id IN (SELECT id FROM published)) IS TRUE AND (l.bot_id IN (
            SELECT bot_id FROM published GROUP BY bot_id HAVING count(*) > 1)) IS FALSE
    ), locked AS MATERIALIZED (
        SELECT b.bot_id FROM bots b
        WHERE b.bot_id = ANY(ARRAY(SELECT bot_id FROM ours)) AND b.use_workflow_v2
          AND ({workflow_hash("b")} IN (SELECT workflow_hash FROM ours)) IS TRUE
        FOR NO KEY UPDATE OF b SKIP LOCKED
    ), switched AS (
        UPDATE bots b SET use_workflow_v2 = false FROM locked l WHERE b.bot_id = l.bot_id
        RETURNING b.bot_id
    ), noted AS (
        UPDATE flowshift.publication_bots p
        SET state = %(note_as)s, message = %(message)s, moved_at = now()
        WHERE p.publication_id = %(id)s AND p.bot_id = ANY(ARRAY(SELECT bot_id FROM switched))
        RETURNING p.bot_id
    )
    SELECT l.bot_id::varchar, l.wave, l.bot_id IN (SELECT bot_id FROM noted)
    FROM live l ORDER BY l.place
"""  # noqa: S608  (constants)

# Who publishes in the platform at this moment archives the version that is live: ours.
_LOCK_OURS: Final = """
    SELECT p.bot_id FROM flowshift.publication_bots p
    JOIN bot_workflow_versions v ON v.id = p.version_id
    WHERE p.publication_id = %s AND p.bot_id = ANY(%s) AND p.state = ANY(%s)
    FOR NO KEY UPDATE OF v SKIP LOCKED
"""

# V1 that has not changed since it was published runs: it did then. Of the others the text is read.
# Bots are found by the list, not by the join: their column may have a collation of its own.
_READ: Final = f"""
    SELECT p.bot_id::varchar, CASE
        WHEN b.bot_id IS NULL THEN 'gone'
        WHEN v.id IS DISTINCT FROM p.version_id THEN 'superseded'
        WHEN NOT b.use_workflow_v2 OR {workflow_hash("b")} = p.workflow_hash THEN 'rolled_back'
        ELSE 'v1_changed' END
    FROM flowshift.publication_bots p
    LEFT JOIN (
        SELECT bot_id, use_workflow_v2, workflow FROM bots WHERE bot_id = ANY(%(ids)s)
    ) b ON b.bot_id COLLATE "default" = p.bot_id
    LEFT JOIN LATERAL (
        SELECT o.id FROM bot_workflow_versions o
        WHERE o.bot_id = b.bot_id AND o.status::text = 'published'
        ORDER BY o.published_at DESC NULLS FIRST LIMIT 1) v ON true
    WHERE p.publication_id = %(id)s AND p.bot_id = ANY(%(ids)s) AND p.state = ANY(%(states)s)
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
    UPDATE flowshift.publication_bots SET state = %s, message = %s, moved_at = now()
    WHERE publication_id = %s AND bot_id = ANY(%s) AND state = ANY(%s)
"""

_COUNT: Final = """
    UPDATE flowshift.waves w
    SET rolled_back = w.rolled_back + CASE WHEN %s = 'rolled_back' THEN n.bots ELSE 0 END,
        quarantined = w.quarantined + CASE WHEN %s = 'quarantined' THEN n.bots ELSE 0 END
    FROM unnest(%s::int[], %s::int[]) AS n (wave, bots)
    WHERE w.publication_id = %s AND w.number = n.wave
"""


def roll_back_bots(
    connection: sa.Connection,
    part: Part,
    *,
    v1_problem: V1Problem,
    note_as: Note = "rolled_back",
    message: str | None = None,
) -> list[Returned]:
    """Give bots that a publication has live back to V1; returns what happened to each, in their order.

    Those that are not live are left out (and to be quarantined, those that are confirmed): on
    repeat nothing changes. Neither Redis nor a worker is needed, and no state of the publication: a
    rollback is always allowed. Our row says `note_as` and `message`, and the wave's counters follow.
    Set-based, and nothing waits for a row of the platform's that is locked.

    Whether V1 runs is decided while the bot's row is locked: `v1_problem` is asked only where V1 is
    not a text that was seen to run when it was published.
    """
    given = {
        "id": part.publication_id,
        "states": list(states_before(BOT_TRANSITIONS, note_as)),
        "wave": part.wave,
        "bot_ids": None if part.bot_ids is None else list(part.bot_ids),
        "after_wave": part.after and part.after.wave,
        "after": part.after and part.after.bot_id,
        "limit": part.limit,
        "note_as": note_as,
        "message": message,
    }
    with driver(connection).cursor() as cursor:
        lock = sql.SQL("FOR NO KEY UPDATE SKIP LOCKED" if part.alongside else "")
        cursor.execute(sql.SQL(_SWITCH).format(alongside=lock), given)
        rows = cursor.fetchall()
    others = [bot_id for bot_id, _, is_back in rows if not is_back]
    found = _look_at(connection, given, others, v1_problem) if others else {}
    returned = [
        Returned(bot_id, "rolled_back" if is_back else found[bot_id], wave)
        for bot_id, wave, is_back in rows
        if is_back or bot_id in found
    ]
    _count(connection, part.publication_id, note_as, returned)
    return returned


def _count(
    connection: sa.Connection, publication_id: int, note_as: Note, returned: Sequence[Returned]
) -> None:
    """Count in the waves' rows, at the end, since every batch of a wave locks the same row."""
    back = Counter(one.wave for one in returned if one.state == "rolled_back")
    if back:
        with driver(connection).cursor() as cursor:
            counted = [note_as, note_as, list(back), list(back.values()), publication_id]
            cursor.execute(_COUNT, counted)


def _look_at(
    connection: sa.Connection, given: dict[str, Any], bot_ids: list[str], v1_problem: V1Problem
) -> dict[str, Back]:
    """Decide on the other bots by what is there once their rows are locked, and switch those back."""
    publication_id, states = given["id"], given["states"]
    locked = lock_bots(connection, bot_ids)
    with driver(connection).cursor() as cursor:
        cursor.execute(_LOCK_OURS, [publication_id, list(locked), states])
        ours = {bot_id for (bot_id,) in cursor.fetchall()}
        cursor.execute(_READ, {"id": publication_id, "ids": bot_ids, "states": states})
        read = dict(cursor.fetchall())
    found: dict[str, Back] = {}
    changed: list[str] = []
    for bot_id, state in read.items():
        if state == "gone":
            found[bot_id] = "rolled_back"
        elif bot_id not in locked or (state != "superseded" and bot_id not in ours):
            found[bot_id] = "busy"
        elif state == "v1_changed":
            changed.append(bot_id)
        else:
            found[bot_id] = state
    found |= _with_changed_v1(connection, changed, v1_problem)
    back = [bot_id for bot_id, one in found.items() if one == "rolled_back"]
    gone = [bot_id for bot_id, one in found.items() if one == "superseded"]
    with driver(connection).cursor() as cursor:
        cursor.execute(_FLAG, [back])
        cursor.execute(_NOTE, [given["note_as"], given["message"], publication_id, back, states])
        cursor.execute(_NOTE, ["superseded", None, publication_id, gone, states])
    return found


def _with_changed_v1(
    connection: sa.Connection, bot_ids: list[str], v1_problem: V1Problem
) -> dict[str, Back]:
    """Whether these bots, which are locked, may go back to a V1 that is not the one published."""
    if not bot_ids:
        return {}
    found: dict[str, Back] = {}
    # One page of texts in memory at a time: each may be as large as a workflow may be.
    query = sql.SQL(_READ_V1).format(max_bytes=sql.Literal(MAX_BYTES))
    with driver(connection).cursor("flowshift_v1") as cursor:
        cursor.adapters.register_loader("text", BytesLoader)
        cursor.itersize = _PAGE
        cursor.execute(query, [bot_ids])
        for bot_id, text in cursor:
            runs = text is not None and not v1.is_json_null(text) and not v1_problem(text)
            found[bot_id] = "rolled_back" if runs else "no_way_back"
    return found
