"""A rollback's frame: which publications it concerns, their state while it goes on, and after it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

import msgspec
import sqlalchemy as sa

from worker.core.policy.states import states_before
from worker.core.publication.states import (
    PUBLICATION_TRANSITIONS,
    WAVE_TRANSITIONS,
    HeldBecause,
)
from worker.db import run_transitions
from worker.db.bulk import driver
from worker.db.publication.locks import lock_state


class Which(msgspec.Struct, frozen=True, kw_only=True):
    """What to roll back: bots, a publication, a wave of it; nothing given means all that is live."""

    bot_ids: tuple[str, ...] | None = None
    publication_id: int | None = None
    wave: int | None = None


_CONCERNED: Final = """
    SELECT p.publication_id FROM flowshift.publications p
    WHERE (%(id)s::int8 IS NULL OR p.publication_id = %(id)s)
      AND (EXISTS (
            SELECT FROM flowshift.publication_bots b
            WHERE b.publication_id = p.publication_id AND b.state IN ('published', 'confirmed')
              AND (%(wave)s::int IS NULL OR b.wave = %(wave)s)
              AND (%(bot_ids)s::text[] IS NULL OR b.bot_id = ANY(%(bot_ids)s)))
        OR p.state = 'rolling_back'
          AND (%(wave)s::int IS NULL OR EXISTS (
            SELECT FROM flowshift.waves w
            WHERE w.publication_id = p.publication_id AND w.number = %(wave)s))
          AND (%(bot_ids)s::text[] IS NULL OR EXISTS (
            SELECT FROM flowshift.publication_bots b
            WHERE b.publication_id = p.publication_id AND b.bot_id = ANY(%(bot_ids)s))))
    ORDER BY p.publication_id DESC
"""


def concerned(connection: sa.Connection, which: Which) -> list[int]:
    """The publications that have bots live of those asked for, the newest first.

    Besides, those whose rollback of them was killed before its end.
    """
    with driver(connection).cursor() as cursor:
        cursor.execute(
            _CONCERNED,
            {
                "id": which.publication_id,
                "wave": which.wave,
                "bot_ids": None if which.bot_ids is None else list(which.bot_ids),
            },
        )
        return [publication_id for (publication_id,) in cursor.fetchall()]


def is_there(connection: sa.Connection, publication_id: int, wave: int | None = None) -> bool:
    """Whether there is such a publication, and such a wave of it."""
    query = sa.text("""
        SELECT EXISTS (SELECT FROM flowshift.publications WHERE publication_id = :id)
           AND (CAST(:wave AS int) IS NULL OR EXISTS (
               SELECT FROM flowshift.waves WHERE publication_id = :id AND number = :wave))
    """)
    return bool(connection.scalar(query, {"id": publication_id, "wave": wave}))


def never_planned(connection: sa.Connection, bot_ids: Sequence[str]) -> list[str]:
    """Those of these bots that no publication ever held."""
    query = sa.text("""
        SELECT asked FROM unnest(CAST(:ids AS text[])) AS asked
        WHERE NOT EXISTS (SELECT FROM flowshift.publication_bots b WHERE b.bot_id = asked)
        ORDER BY asked
    """)
    return list(connection.execute(query, {"ids": list(bot_ids)}).scalars())


_COUNT: Final = """
    SELECT count(*) FROM flowshift.publication_bots
    WHERE publication_id = %s AND state IN ('published', 'confirmed')
      AND (%s::int IS NULL OR wave = %s) AND (%s::text[] IS NULL OR bot_id = ANY(%s))
"""


def count_live(connection: sa.Connection, publication_id: int, which: Which) -> int:
    """How many bots a publication has live, of those asked for."""
    bot_ids = None if which.bot_ids is None else list(which.bot_ids)
    with driver(connection).cursor() as cursor:
        cursor.execute(_COUNT, [publication_id, which.wave, which.wave, bot_ids, bot_ids])
        (count,) = cursor.fetchone() or (0,)
        return int(count)


# -- the publication's state -----------------------------------------------------------------------


def lock(connection: sa.Connection, publication_ids: Iterable[int]) -> None:
    """Keep the states of these publications as they are: batches at work end, no other begins."""
    for publication_id in sorted(publication_ids):
        lock_state(connection, publication_id, alone=True)


# What it was before is kept beside it: a rollback that is killed is taken up by the next one.
_BEGIN: Final = """
    UPDATE flowshift.publications
    SET state = 'rolling_back', held_from = NULL, held_because = NULL, finished_at = NULL,
        options = options || jsonb_build_object(
            'rolled_back_from', COALESCE(held_from, state),
            'rolled_back_because', COALESCE(held_because, %s)),
        version = version + 1, moved_at = now()
    WHERE publication_id = %s AND state = ANY(%s)
"""

# A part is back where no bot of it is live any more and, unless all of it was asked for, none is to
# come. Two rollbacks at once may end in either order: the last one to end finds nothing live.
_END: Final = """
    WITH found AS (
        SELECT NOT EXISTS (
            SELECT FROM flowshift.publication_bots b WHERE b.publication_id = %(id)s
              AND (b.state IN ('published', 'confirmed') OR b.state = 'pending' AND NOT %(whole)s)
        ) AS is_back
    ), next AS (
        SELECT CASE WHEN f.is_back THEN 'rolled_back'
                    WHEN p.options ->> 'rolled_back_from' IN ('publishing', 'watching', 'planned')
                    THEN 'held' ELSE 'stopped' END AS state
        FROM found f, flowshift.publications p WHERE p.publication_id = %(id)s
    )
    UPDATE flowshift.publications p
    SET state = n.state,
        held_from = CASE WHEN n.state = 'held' THEN p.options ->> 'rolled_back_from' END,
        held_because = CASE WHEN n.state = 'held'
                            THEN COALESCE(p.options ->> 'rolled_back_because', 'person') END,
        finished_at = CASE WHEN n.state <> 'held' THEN now() END,
        options = p.options - 'rolled_back_from' - 'rolled_back_because', state_reason = %(reason)s,
        version = p.version + 1, moved_at = now()
    FROM next n
    WHERE p.publication_id = %(id)s
      AND (p.state = 'rolling_back' OR n.state = 'rolled_back' AND p.state = ANY(%(before)s))
    RETURNING p.state
"""

_RUNS: Final = "SELECT run_id FROM flowshift.waves WHERE publication_id = %s AND run_id IS NOT NULL"

_END_WAVES: Final = """
    UPDATE flowshift.waves w SET state = 'rolled_back', decided_at = now()
    WHERE w.publication_id = %(id)s AND w.state = ANY(%(before)s) AND w.rolled_back > 0
      AND NOT EXISTS (
        SELECT FROM flowshift.publication_bots b
        WHERE b.publication_id = w.publication_id AND b.wave = w.number
          AND (b.state IN ('published', 'confirmed')
               OR b.state = 'pending' AND NOT (%(whole)s OR w.number IS NOT DISTINCT FROM %(wave)s::int)))
"""


def begin(
    connection: sa.Connection, publication_id: int, *, because: HeldBecause = "person"
) -> bool:
    """Take a publication into `rolling_back`; False if it is there already. Needs `lock`.

    `because` is why it is held afterwards if a part of it stays out and it was not held before.
    """
    before = list(states_before(PUBLICATION_TRANSITIONS, "rolling_back"))
    with driver(connection).cursor() as cursor:
        cursor.execute(_BEGIN, [because, publication_id, before])
        return cursor.rowcount == 1


def end(connection: sa.Connection, publication_id: int, which: Which, reason: str) -> str | None:
    """Take it, and its waves, to what they are after a rollback. Needs `lock`.

    `rolled_back` if none of its versions is live; else `held`, or `stopped` if it was over before.
    Returns the new state, None if it was there already.
    """
    given = {
        "id": publication_id,
        "whole": which.bot_ids is None and which.wave is None,
        "wave": which.wave if which.bot_ids is None else None,
        "reason": reason,
    }
    before = list(states_before(PUBLICATION_TRANSITIONS, "rolling_back"))
    waves_before = list(states_before(WAVE_TRANSITIONS, "rolled_back"))
    with driver(connection).cursor() as cursor:
        cursor.execute(_END_WAVES, {**given, "before": waves_before})
        cursor.execute(_END, {**given, "before": before})
        row = cursor.fetchone()
        if row is not None and row[0] != "held":
            cursor.execute(_RUNS, [publication_id])
            for (run_id,) in cursor.fetchall():
                run_transitions.apply(
                    connection, run_id, "cancelled", reason=reason, actor="flowshift"
                )
    return None if row is None else str(row[0])
