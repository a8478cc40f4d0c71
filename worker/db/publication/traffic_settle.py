"""Counting executions of a wave for good: those so old that nothing of them changes any more.

    … settled: in our tables │ not settled: counted anew at each look …
                       counted_until                                 now

Settling adds a stretch to our tables and moves `counted_until` past it, in one transaction with that
row locked: each execution is counted once, however many look at once and wherever one is killed.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Final

import msgspec
import sqlalchemy as sa

from worker.core.publication.statuses import together
from worker.core.publication.tally import Minute, Who, by_bot, columns_of
from worker.db.bulk import driver

_OPENED: Final = sa.text("""
    SELECT opened_at FROM flowshift.gate_looks WHERE publication_id = :publication_id AND wave = :wave
""")

_OPEN: Final = sa.text("""
    INSERT INTO flowshift.gate_looks (publication_id, wave, opened_at, counted_until)
    VALUES (:publication_id, :wave, CAST(:began AS timestamptz),
            date_trunc('minute', CAST(:since AS timestamptz)))
    ON CONFLICT DO NOTHING
""")

_COUNTED_UNTIL: Final = """
    SELECT counted_until FROM flowshift.gate_looks
    WHERE publication_id = :publication_id AND wave = :wave
"""


def opened(connection: sa.Connection, publication_id: int, wave: int) -> datetime | None:
    """When the first bot of a wave that is being counted was published; None if it is not counted."""
    values = {"publication_id": publication_id, "wave": wave}
    found: datetime | None = connection.execute(_OPENED, values).scalar_one_or_none()
    return found


def begin(
    connection: sa.Connection, publication_id: int, wave: int, began: datetime, since: datetime
) -> None:
    """Have a wave counted from `since` on, whose first bot was published then; safe to repeat."""
    connection.execute(
        _OPEN,
        {
            "publication_id": publication_id,
            "wave": wave,
            "began": began.isoformat(),
            "since": since.isoformat(),
        },
    )


def counted_until(
    connection: sa.Connection, publication_id: int, wave: int, *, lock: bool = False
) -> datetime | None:
    """Until when a wave is settled; with `lock` None if another look settles it just now."""
    query = sa.text(_COUNTED_UNTIL + (" FOR UPDATE SKIP LOCKED" if lock else ""))
    values = {"publication_id": publication_id, "wave": wave}
    found: datetime | None = connection.execute(query, values).scalar_one_or_none()
    return found


_UNKNOWN: Final = sa.text("""
    SELECT COALESCE(unknown, '{}') AS unknown FROM flowshift.gate_looks
    WHERE publication_id = :publication_id AND wave = :wave
""")


def unknown_of(connection: sa.Connection, publication_id: int, wave: int) -> dict[str, int]:
    """How many settled executions have a status that the gate does not know, by that status."""
    values = {"publication_id": publication_id, "wave": wave}
    found: dict[str, int] = connection.execute(_UNKNOWN, values).scalar_one_or_none() or {}
    return found


_ADD_BOTS: Final = """
    INSERT INTO flowshift.gate_bots AS g (publication_id, wave, bot_id, executions, failed, slow, costly,
                                          timed, metered, seen, first)
    SELECT %(publication_id)s, %(wave)s, n.* FROM unnest(
        %(bot_ids)s::text[], %(executions)s::int8[], %(failed)s::int8[], %(slow)s::int8[],
        %(costly)s::int8[], %(timed)s::int8[], %(metered)s::int8[], %(seen)s::int8[],
        %(first)s::text[]) AS n
    ON CONFLICT (publication_id, wave, bot_id) DO UPDATE
    SET executions = g.executions + excluded.executions, failed = g.failed + excluded.failed,
        slow = g.slow + excluded.slow, costly = g.costly + excluded.costly,
        timed = g.timed + excluded.timed, metered = g.metered + excluded.metered,
        seen = g.seen + excluded.seen,
        first = left(g.first || excluded.first, %(kept)s)
"""

_ADD_BAD: Final = """
    INSERT INTO flowshift.gate_bad_minutes (publication_id, wave, minute, bot_id, failed, slow, costly)
    SELECT %(publication_id)s, %(wave)s, to_timestamp(n.minute_s), n.bot_id, n.failed, n.slow, n.costly
    FROM unnest(%(minutes)s::float8[], %(bot_ids)s::text[], %(failed)s::int8[], %(slow)s::int8[],
                %(costly)s::int8[]) AS n (minute_s, bot_id, failed, slow, costly)
"""

_ADD_CONTROL: Final = """
    INSERT INTO flowshift.gate_control_minutes (publication_id, wave, minute, who, executions, failed,
                                                slow, costly)
    SELECT %(publication_id)s, %(wave)s, to_timestamp(n.minute_s), n.who, n.executions, n.failed,
           n.slow, n.costly
    FROM unnest(%(minutes)s::float8[], %(who)s::text[], %(executions)s::int8[], %(failed)s::int8[],
                %(slow)s::int8[], %(costly)s::int8[])
         AS n (minute_s, who, executions, failed, slow, costly)
"""

_MOVE: Final = """
    UPDATE flowshift.gate_looks SET counted_until = %(until)s, unknown = %(unknown)s::jsonb
    WHERE publication_id = %(publication_id)s AND wave = %(wave)s
"""


def settle(
    connection: sa.Connection,
    publication_id: int,
    wave: int,
    minutes: Sequence[Minute],
    until: datetime,
    *,
    first: int,
    unknown: Mapping[str, int] = {},
) -> None:
    """Count these minutes for good: all from `counted_until` to `until`. The caller has it locked.

    Of each bot the `first` executions are kept one by one. `unknown` are those of statuses that the gate
    does not know.
    """
    values = {"publication_id": publication_id, "wave": wave}
    statuses = dict(together(unknown_of(connection, publication_id, wave), unknown))
    bots = by_bot(minutes)
    bad = _bad(minutes)
    control = [one for one in _merged(minutes) if one.who != "wave"]
    with driver(connection).cursor() as cursor:
        if bots:
            tallies = columns_of([bot.tally for bot in bots.values()])
            firsts = [bot.first for bot in bots.values()]
            added = {"bot_ids": [*bots], "first": firsts, "kept": first}
            cursor.execute(_ADD_BOTS, {**values, **tallies, **added})
        if bad:
            ids = [one.bot_id for one in bad]
            cursor.execute(_ADD_BAD, {**values, **_of_minutes(bad), "bot_ids": ids})
        if control:
            who = [one.who for one in control]
            cursor.execute(_ADD_CONTROL, {**values, **_of_minutes(control), "who": who})
        said = json.dumps(statuses) if statuses else None
        cursor.execute(_MOVE, {**values, "until": until, "unknown": said})


def _bad(minutes: Sequence[Minute]) -> list[Minute]:
    return [
        one
        for one in _merged(minutes)
        if one.who == "wave" and (one.tally.failed or one.tally.slow or one.tally.costly)
    ]


def _merged(minutes: Iterable[Minute]) -> list[Minute]:
    """One entry for each minute, whatever else tells executions apart."""
    found: dict[tuple[Who, str, float], Minute] = {}
    for one in minutes:
        key = (one.who, one.bot_id, one.minute_s)
        tally = found[key].tally.plus(one.tally) if key in found else one.tally
        found[key] = msgspec.structs.replace(one, tally=tally)
    return list(found.values())


def _of_minutes(minutes: Sequence[Minute]) -> dict[str, list[float] | list[int]]:
    at = [one.minute_s for one in minutes]
    return {"minutes": at, **columns_of([one.tally for one in minutes])}
