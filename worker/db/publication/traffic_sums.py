"""What is known of a wave: what is settled of its executions, together with what is not yet."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Final

import msgspec
import sqlalchemy as sa

from worker.core.publication.baseline import METRICS, Count, Metric
from worker.core.publication.normal import Normal
from worker.core.publication.states import LIVE
from worker.core.publication.tally import DIGITS, Minute, Tally, Who, by_bot, columns_of
from worker.core.publication.visits import period_h
from worker.db.bulk import driver


class Wave(msgspec.Struct, frozen=True, kw_only=True):
    """A wave as the gate sees it; `out` of its bots answer with its versions, others are quarantined.

    Times are the database's.
    """

    now: datetime
    state: str
    started_at: datetime | None
    watched_from: datetime | None
    out: int
    quarantined: int

    @property
    def since(self) -> datetime:
        """From when its soak counts: it is watched from then on, or was begun then."""
        return min(self.watched_from or self.started_at or self.now, self.now)

    @property
    def is_whole(self) -> bool:
        """Whether no bot of it is still to be published."""
        return self.state not in {"pending", "publishing"}


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


# Its states as literals: so the counts come from indexes alone.
_WAVE: Final = sa.text("""
    SELECT now() AS now, w.state, w.started_at, w.watched_from,
           (SELECT count(*) FROM flowshift.publication_bots p
            WHERE p.publication_id = w.publication_id AND p.wave = w.number
              AND p.state IN ('published', 'confirmed')) AS out,
           (SELECT count(*) FROM flowshift.publication_bots p
            WHERE p.publication_id = w.publication_id AND p.wave = w.number
              AND p.state = 'quarantined') AS quarantined
    FROM flowshift.waves w WHERE w.publication_id = :publication_id AND w.number = :wave
""")

_FIRST_OUT: Final = sa.text("""
    SELECT min(p.published_at) FROM flowshift.publication_bots p
    WHERE p.publication_id = :publication_id AND p.wave = :wave
""")


def first_out(connection: sa.Connection, publication_id: int, wave: int) -> datetime | None:
    """When the first bot of a wave was published; None if none was."""
    values = {"publication_id": publication_id, "wave": wave}
    found: datetime | None = connection.execute(_FIRST_OUT, values).scalar_one()
    return found


def wave_of(connection: sa.Connection, publication_id: int, wave: int) -> Wave | None:
    """A wave as it stands, None if there is none."""
    values = {"publication_id": publication_id, "wave": wave}
    row = connection.execute(_WAVE, values).one_or_none()
    return None if row is None else Wave(**row._asdict())


# What is settled and what is not, of each bot that is out.
_OUT: Final = """
    WITH n AS MATERIALIZED (
        SELECT * FROM unnest(
            %(bot_ids)s::text[], %(executions)s::int8[], %(failed)s::int8[], %(slow)s::int8[],
            %(costly)s::int8[], %(timed)s::int8[], %(metered)s::int8[], %(seen)s::int8[],
            %(first)s::text[])
        AS n (bot_id, executions, failed, slow, costly, timed, metered, seen, first)
    ), both_parts AS (
        SELECT bot_id, executions, failed, slow, costly, timed, metered, seen, first, 2 AS part FROM n
        UNION ALL
        SELECT bot_id, executions, failed, slow, costly, timed, metered, seen, first, 1
        FROM flowshift.gate_bots WHERE publication_id = %(publication_id)s AND wave = %(wave)s
    ), out AS (
        SELECT b.bot_id, sum(executions)::int8 AS executions, sum(failed)::int8 AS failed,
               sum(slow)::int8 AS slow, sum(costly)::int8 AS costly, sum(timed)::int8 AS timed,
               sum(metered)::int8 AS metered, sum(seen)::int8 AS seen,
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
           COALESCE(sum(timed), 0)::int8, COALESCE(sum(metered), 0)::int8, COALESCE(sum(seen), 0)::int8,
           COALESCE(sum(length(first)), 0)::int8,
           {_metrics("COALESCE(sum({bad}), 0)::int8")},
           {_metrics("count(*) FILTER (WHERE {bad} > 0)")}
    FROM out
"""  # noqa: S608

_WORST: Final = f"""
    {_OUT} SELECT bot_id, executions, failed, slow, costly, timed, metered, seen FROM out
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
            **columns_of([bot.tally for bot in bots.values()]),
        }

    def sums(self) -> Sums:
        """All bots together."""
        with driver(self._connection).cursor() as cursor:
            row = cursor.execute(_SUMS, self._values).fetchone()
        assert row is not None  # noqa: S101  (an aggregate)
        executions, bad, failing = row[7], row[8:11], row[11:14]
        return Sums(
            Tally(*row[:7]),
            {m: Count(one, executions) for m, one in zip(METRICS, bad, strict=True)},
            dict(zip(METRICS, failing, strict=True)),
        )

    def worst(self, least: dict[Metric, int]) -> list[BotTally]:
        """The bots with at least so many bad executions, of any metric."""
        values = self._values | {f"least_{metric}": least[metric] for metric in METRICS}
        with driver(self._connection).cursor() as cursor:
            rows = cursor.execute(_WORST, values).fetchall()
        return [BotTally(bot_id, Tally(*tally)) for bot_id, *tally in rows]

    def expected(self, against: Normal, now_s: float, *, least: float) -> Expected:
        """How many visitors should have come by `now_s`; single bots from `least` on."""
        period = period_h(against.hours)
        if not period:
            return Expected()
        values = self._values | {
            "until_s": against.until_s,
            "known_h": against.hours,
            "period_h": period,
            "now_s": now_s,
            "least": least,
        }
        with driver(self._connection).cursor() as cursor:
            found = dict(cursor.execute(_EXPECTED, values).fetchall())
        return Expected(found.pop(None, 0.0), found)


# -- silence ---------------------------------------------------------------------------------------

# An hour in which visitors came says how many come in the same hour of the day, or of the week, from
# `until_s` on; only as far as the bot is out, and one period at most.
_EXPECTED: Final = """
    WITH hours AS (
        SELECT g.bot_id, g.seen, v.visits, EXTRACT(epoch FROM p.published_at)::float8 AS out_s,
               %(until_s)s + (v.hour - %(known_h)s + %(period_h)s) * 3600.0 AS begins_s
        FROM flowshift.gate_bots g
        JOIN flowshift.publication_bots p
          ON p.bot_id = g.bot_id AND p.publication_id = g.publication_id AND p.state = ANY (%(live)s)
        CROSS JOIN LATERAL unnest(g.visit_hours, g.visits) AS v (hour, visits)
        WHERE g.publication_id = %(publication_id)s AND g.wave = %(wave)s
          AND v.hour >= %(known_h)s - %(period_h)s
    ), bots AS (
        SELECT h.bot_id, h.seen = 0 AND NOT h.bot_id = ANY (%(bot_ids)s::text[]) AS is_silent,
               sum(h.visits * GREATEST(0, LEAST(%(now_s)s, h.begins_s + 3600)
                                          - GREATEST(h.out_s, h.begins_s)) / 3600) AS expected
        FROM hours h GROUP BY h.bot_id, h.seen
    )
    SELECT b.bot_id, b.expected::float8 FROM bots b WHERE b.is_silent AND b.expected >= %(least)s
    UNION ALL SELECT NULL, COALESCE(sum(b.expected), 0)::float8 FROM bots b
"""


class Expected(msgspec.Struct, frozen=True):
    """How many visitors should have come to a wave's bots, and to each of those to whom none came."""

    total: float = 0.0
    silent: dict[str, float] = {}


def _control_columns() -> str:
    return ", ".join(
        f"COALESCE(sum(c.{what}) FILTER (WHERE b.{metric}), 0)::int8"
        for metric in METRICS
        for what in (metric, "executions")
    )


# -- the control -----------------------------------------------------------------------------------

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


_CONTROL_SEEN: Final = """
    SELECT c.who, sum(c.executions)::int8 FROM flowshift.gate_control_minutes c
    WHERE c.publication_id = %(publication_id)s AND c.wave = %(wave)s
      AND c.minute >= to_timestamp(%(since_s)s) GROUP BY c.who
"""


def control_seen(
    connection: sa.Connection, publication_id: int, wave: int, since_s: float
) -> dict[Who, int]:
    """How many executions the control had in the settled minutes since."""
    values = {"publication_id": publication_id, "wave": wave, "since_s": since_s}
    with driver(connection).cursor() as cursor:
        return dict(cursor.execute(_CONTROL_SEEN, values).fetchall())
