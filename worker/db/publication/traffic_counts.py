"""What the gate has counted of a wave for good, and reading it together with what is not settled yet.

    … settled: in our tables │ not settled: counted anew at each look …
                       counted_until                                 now

Settling adds a stretch to our tables and moves `counted_until` past it, in one transaction with that
row locked: each execution is counted once, however many look at once and wherever one is killed.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Final

import msgspec
import sqlalchemy as sa

from worker.core.publication.baseline import METRICS, Count, Metric
from worker.core.publication.states import LIVE
from worker.core.publication.tally import DIGITS, FIRST, Minute, Tally, Who, by_bot
from worker.db.bulk import driver


class Wave(msgspec.Struct, frozen=True, kw_only=True):
    """A wave as the gate sees it; `out` of its bots answer with its versions, others are quarantined.

    Times are the database's: `first_out` that of the first bot, None before.
    """

    now: datetime
    state: str
    watched_from: datetime | None
    first_out: datetime | None
    out: int
    quarantined: int


class BotTally(msgspec.Struct, frozen=True):
    """All executions of a bot."""

    bot_id: str
    tally: Tally


class Sums(msgspec.Struct, frozen=True):
    """The bots of a wave that are out, together.

    `capped` has the first executions of each, of which on `failing` bots some were bad, by metric.
    """

    total: Tally
    capped: dict[Metric, Count]
    failing: dict[Metric, int]


_WAVE: Final = sa.text("""
    SELECT now() AS now, w.state, w.watched_from, b.first_out, b.out, b.quarantined
    FROM flowshift.waves w CROSS JOIN LATERAL (
        SELECT min(p.published_at) AS first_out,
               count(*) FILTER (WHERE p.state = ANY (:live)) AS out,
               count(*) FILTER (WHERE p.state = 'quarantined') AS quarantined
        FROM flowshift.publication_bots p
        WHERE p.publication_id = w.publication_id AND p.wave = w.number
          AND p.version_id IS NOT NULL) b
    WHERE w.publication_id = :publication_id AND w.number = :wave
""")


def wave_of(connection: sa.Connection, publication_id: int, wave: int) -> Wave | None:
    """A wave as it stands, None if there is none."""
    values = {"publication_id": publication_id, "wave": wave, "live": list(LIVE)}
    row = connection.execute(_WAVE, values).one_or_none()
    return None if row is None else Wave(**row._asdict())


# -- settling --------------------------------------------------------------------------------------

_OPEN: Final = sa.text("""
    INSERT INTO flowshift.gate_looks (publication_id, wave, counted_until)
    VALUES (:publication_id, :wave, date_trunc('minute', CAST(:since AS timestamptz)))
    ON CONFLICT DO NOTHING
""")

_COUNTED_UNTIL: Final = """
    SELECT counted_until FROM flowshift.gate_looks
    WHERE publication_id = :publication_id AND wave = :wave
"""


def begin(connection: sa.Connection, publication_id: int, wave: int, since: datetime) -> None:
    """Have a wave counted from `since` on; on repeat nothing changes."""
    connection.execute(
        _OPEN, {"publication_id": publication_id, "wave": wave, "since": since.isoformat()}
    )


def counted_until(
    connection: sa.Connection, publication_id: int, wave: int, *, lock: bool = False
) -> datetime | None:
    """Until when a wave is settled; with `lock` None if another look settles it just now."""
    query = sa.text(_COUNTED_UNTIL + (" FOR UPDATE SKIP LOCKED" if lock else ""))
    values = {"publication_id": publication_id, "wave": wave}
    found: datetime | None = connection.execute(query, values).scalar_one_or_none()
    return found


_ADD_BOTS: Final = f"""
    INSERT INTO flowshift.gate_bots AS g (publication_id, wave, bot_id, executions, failed, slow, costly,
                                          timed, metered, first)
    SELECT %(publication_id)s, %(wave)s, n.* FROM unnest(
        %(bot_ids)s::text[], %(executions)s::int8[], %(failed)s::int8[], %(slow)s::int8[],
        %(costly)s::int8[], %(timed)s::int8[], %(metered)s::int8[], %(first)s::text[]) AS n
    ON CONFLICT (publication_id, wave, bot_id) DO UPDATE
    SET executions = g.executions + excluded.executions, failed = g.failed + excluded.failed,
        slow = g.slow + excluded.slow, costly = g.costly + excluded.costly,
        timed = g.timed + excluded.timed, metered = g.metered + excluded.metered,
        first = left(g.first || excluded.first, {FIRST})
"""  # noqa: S608  (a number of ours)

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
    UPDATE flowshift.gate_looks SET counted_until = %(until)s
    WHERE publication_id = %(publication_id)s AND wave = %(wave)s
"""


def settle(
    connection: sa.Connection,
    publication_id: int,
    wave: int,
    minutes: Sequence[Minute],
    until: datetime,
) -> None:
    """Count these minutes for good: all from `counted_until` to `until`. The caller has it locked."""
    values = {"publication_id": publication_id, "wave": wave}
    bots = by_bot(minutes)
    bad = _bad(minutes)
    control = [one for one in _merged(minutes) if one.who != "wave"]
    with driver(connection).cursor() as cursor:
        if bots:
            tallies = _columns([bot.tally for bot in bots.values()])
            firsts = [bot.first for bot in bots.values()]
            cursor.execute(_ADD_BOTS, {**values, **tallies, "bot_ids": [*bots], "first": firsts})
        if bad:
            ids = [one.bot_id for one in bad]
            cursor.execute(_ADD_BAD, {**values, **_of_minutes(bad), "bot_ids": ids})
        if control:
            who = [one.who for one in control]
            cursor.execute(_ADD_CONTROL, {**values, **_of_minutes(control), "who": who})
        cursor.execute(_MOVE, {**values, "until": until})


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
    return {"minutes": at, **_columns([one.tally for one in minutes])}


def _columns(tallies: Sequence[Tally]) -> dict[str, list[int]]:
    return {name: [getattr(one, name) for one in tallies] for name in Tally.__struct_fields__}


# -- reading ---------------------------------------------------------------------------------------

# What is settled and what is not, of each bot that is out.
_OUT: Final = """
    WITH n AS MATERIALIZED (
        SELECT * FROM unnest(
            %(bot_ids)s::text[], %(executions)s::int8[], %(failed)s::int8[], %(slow)s::int8[],
            %(costly)s::int8[], %(timed)s::int8[], %(metered)s::int8[], %(first)s::text[])
        AS n (bot_id, executions, failed, slow, costly, timed, metered, first)
    ), both_parts AS (
        SELECT bot_id, executions, failed, slow, costly, timed, metered, first, 2 AS part FROM n
        UNION ALL
        SELECT bot_id, executions, failed, slow, costly, timed, metered, first, 1
        FROM flowshift.gate_bots WHERE publication_id = %(publication_id)s AND wave = %(wave)s
    ), out AS (
        SELECT b.bot_id, sum(executions)::int8 AS executions, sum(failed)::int8 AS failed,
               sum(slow)::int8 AS slow, sum(costly)::int8 AS costly, sum(timed)::int8 AS timed,
               sum(metered)::int8 AS metered,
               left(string_agg(first, '' ORDER BY part), %(cap)s::int) AS first
        FROM both_parts b
        JOIN flowshift.publication_bots p
          ON p.bot_id = b.bot_id AND p.publication_id = %(publication_id)s
        WHERE p.state = ANY (%(live)s) GROUP BY b.bot_id
    )
"""

_BAD: Final = "length(first) - length(translate(first, '{}', ''))"


def _metrics(form: str) -> str:
    """SQL for all metrics, from a form with `{bad}`, which is a bot's first executions that were bad."""
    return ", ".join(form.format(bad=_BAD.format(DIGITS[metric])) for metric in METRICS)


_SUMS: Final = f"""
    {_OUT} SELECT COALESCE(sum(executions), 0)::int8, COALESCE(sum(failed), 0)::int8,
           COALESCE(sum(slow), 0)::int8, COALESCE(sum(costly), 0)::int8,
           COALESCE(sum(timed), 0)::int8, COALESCE(sum(metered), 0)::int8,
           COALESCE(sum(length(first)), 0)::int8,
           {_metrics("COALESCE(sum({bad}), 0)::int8")},
           {_metrics("count(*) FILTER (WHERE {bad} > 0)")}
    FROM out
"""  # noqa: S608

_WORST: Final = f"""
    {_OUT} SELECT bot_id, executions, failed, slow, costly, timed, metered FROM out
    WHERE failed >= %(least_failed)s OR slow >= %(least_slow)s OR costly >= %(least_costly)s
    ORDER BY bot_id
"""  # noqa: S608


class Counted:
    """The executions of a wave: those settled, with `minutes`, which are not."""

    def __init__(
        self,
        connection: sa.Connection,
        publication_id: int,
        wave: int,
        minutes: Sequence[Minute],
        *,
        cap: int,
    ) -> None:
        bots = by_bot(minutes)
        self._connection = connection
        self._values = {
            "publication_id": publication_id,
            "wave": wave,
            "live": list(LIVE),
            "cap": cap,
            "bot_ids": [*bots],
            "first": [bot.first for bot in bots.values()],
            **_columns([bot.tally for bot in bots.values()]),
        }

    def sums(self) -> Sums:
        """All bots together."""
        with driver(self._connection).cursor() as cursor:
            row = cursor.execute(_SUMS, self._values).fetchone()
        assert row is not None  # noqa: S101  (an aggregate)
        executions, bad, failing = row[6], row[7:10], row[10:13]
        return Sums(
            Tally(*row[:6]),
            {m: Count(one, executions) for m, one in zip(METRICS, bad, strict=True)},
            dict(zip(METRICS, failing, strict=True)),
        )

    def worst(self, least: dict[Metric, int]) -> list[BotTally]:
        """The bots with at least so many bad executions, of any metric."""
        values = self._values | {f"least_{metric}": least[metric] for metric in METRICS}
        with driver(self._connection).cursor() as cursor:
            rows = cursor.execute(_WORST, values).fetchall()
        return [BotTally(bot_id, Tally(*tally)) for bot_id, *tally in rows]


def _control_columns() -> str:
    return ", ".join(
        f"COALESCE(sum(c.{what}) FILTER (WHERE b.{metric}), 0)::int8"
        for metric in METRICS
        for what in (metric, "executions")
    )


_CONTROL: Final = f"""
    WITH bad AS (
        SELECT m.minute, bool_or(m.failed > 0) AS failed, bool_or(m.slow > 0) AS slow,
               bool_or(m.costly > 0) AS costly
        FROM flowshift.gate_bad_minutes m
        JOIN flowshift.publication_bots p
          ON p.bot_id = m.bot_id AND p.publication_id = m.publication_id
        WHERE m.publication_id = %(publication_id)s AND m.wave = %(wave)s AND p.state = ANY (%(live)s)
        GROUP BY m.minute
    )
    SELECT c.who, {_control_columns()}
    FROM flowshift.gate_control_minutes c JOIN bad b ON b.minute = c.minute
    WHERE c.publication_id = %(publication_id)s AND c.wave = %(wave)s GROUP BY c.who
"""  # noqa: S608


def control(
    connection: sa.Connection, publication_id: int, wave: int
) -> dict[tuple[Who, Metric], Count]:
    """What the control did in the settled minutes in which bots that are out were bad."""
    values = {"publication_id": publication_id, "wave": wave, "live": list(LIVE)}
    with driver(connection).cursor() as cursor:
        rows = cursor.execute(_CONTROL, values).fetchall()
    return {
        (who, metric): Count(counts[2 * place], counts[2 * place + 1])
        for who, *counts in rows
        for place, metric in enumerate(METRICS)
    }
