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
from worker.core.publication.visits import HOUR_S, period_h
from worker.db.bulk import driver


class Wave(msgspec.Struct, frozen=True, kw_only=True):
    """A wave as the gate sees it; `out` of its bots answer with its versions, others are quarantined.

    Times are the database's.
    """

    now: datetime
    state: str
    started_at: datetime | None
    watched_from: datetime | None
    bot_count: int
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
    SELECT now() AS now, w.state, w.started_at, w.watched_from, w.bot_count,
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


# What is settled and what is not, of each bot that is out. Few bots have executions that are not
# settled, and few are out no more: all others are read once, and their texts only where needed.
_OUT: Final = """
    WITH n AS MATERIALIZED (
        SELECT * FROM unnest(
            %(bot_ids)s::text[], %(executions)s::int8[], %(failed)s::int8[], %(slow)s::int8[],
            %(costly)s::int8[], %(timed)s::int8[], %(metered)s::int8[], %(seen)s::int8[],
            %(first)s::text[])
        AS n (bot_id, executions, failed, slow, costly, timed, metered, seen, first)
    ), gone AS MATERIALIZED (
        SELECT p.bot_id FROM flowshift.publication_bots p
        WHERE p.publication_id = %(publication_id)s
          AND NOT p.state IN ('pending', 'published', 'confirmed')
    ), both_parts AS (
        SELECT g.bot_id, g.executions, g.failed, g.slow, g.costly, g.timed, g.metered, g.seen,
               left(g.first, %(cap)s::int) AS first
        FROM flowshift.gate_bots g
        WHERE g.publication_id = %(publication_id)s AND g.wave = %(wave)s
          AND NOT EXISTS (SELECT FROM n WHERE n.bot_id = g.bot_id)
        UNION ALL
        SELECT n.bot_id, n.executions + COALESCE(g.executions, 0), n.failed + COALESCE(g.failed, 0),
               n.slow + COALESCE(g.slow, 0), n.costly + COALESCE(g.costly, 0),
               n.timed + COALESCE(g.timed, 0), n.metered + COALESCE(g.metered, 0),
               n.seen + COALESCE(g.seen, 0), left(COALESCE(g.first, '') || n.first, %(cap)s::int)
        FROM n LEFT JOIN flowshift.gate_bots g
          ON g.publication_id = %(publication_id)s AND g.wave = %(wave)s AND g.bot_id = n.bot_id
    ), out AS (
        SELECT b.* FROM both_parts b WHERE NOT EXISTS (SELECT FROM gone WHERE gone.bot_id = b.bot_id)
    )
"""


def _metrics(form: str) -> str:
    """SQL for all metrics, from a form with `{metric}` and `{digits}`."""
    return ", ".join(form.format(metric=metric, digits=DIGITS[metric]) for metric in METRICS)


_BAD: Final = """
    CASE WHEN {metric} > 0 THEN length(first) - length(translate(first, '{digits}', ''))
         ELSE 0 END AS {metric}"""

_SUMS: Final = f"""
    {_OUT}, capped AS MATERIALIZED (
        SELECT length(first) AS executions, {_metrics(_BAD)} FROM out
    ), together AS (
        SELECT COALESCE(sum(executions), 0)::int8, COALESCE(sum(failed), 0)::int8,
               COALESCE(sum(slow), 0)::int8, COALESCE(sum(costly), 0)::int8,
               COALESCE(sum(timed), 0)::int8, COALESCE(sum(metered), 0)::int8,
               COALESCE(sum(seen), 0)::int8 FROM out
    )
    SELECT t.*, c.* FROM together t CROSS JOIN (
        SELECT COALESCE(sum(executions), 0)::int8, {_metrics("COALESCE(sum({metric}), 0)::int8")},
               {_metrics("count(*) FILTER (WHERE {metric} > 0)")} FROM capped) c
"""  # noqa: S608  (constants)

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

    def silent(self, against: Normal, now_s: float) -> dict[str, float]:
        """The bots to which nobody came, and how many visitors should have come by `now_s`."""
        period = period_h(against.hours)
        if not period:
            return {}
        first_h = against.hours - period
        elapsed_h = int(max(0.0, now_s - against.until_s) // HOUR_S)
        values = self._values | {
            "until_s": against.until_s,
            "first_h": first_h,
            "last_h": min(first_h + elapsed_h, against.hours - 1),
            "now_s": now_s,
        }
        with driver(self._connection).cursor() as cursor:
            return dict(cursor.execute(_SILENT, values).fetchall())


# -- silence ---------------------------------------------------------------------------------------

# An hour in which visitors came says how many come in the same hour of the day, or of the week, from
# `until_s` on; only as far as the bot is out, and one period at most. The hours are in their order.
_SILENT: Final = """
    SELECT g.bot_id, sum(v.visits * GREATEST(
        0, LEAST(%(now_s)s, b.begins_s + 3600) - GREATEST(p.out_s, b.begins_s)) / 3600)::float8
    FROM flowshift.gate_bots g
    CROSS JOIN LATERAL (
        SELECT EXTRACT(epoch FROM o.published_at)::float8 AS out_s FROM flowshift.publication_bots o
        WHERE o.bot_id = g.bot_id AND o.publication_id = g.publication_id AND o.state = ANY (%(live)s)
    ) p
    CROSS JOIN LATERAL (
        SELECT width_bucket(%(first_h)s::int2 - 1::int2, g.visit_hours) + 1 AS first,
               width_bucket(%(last_h)s::int2, g.visit_hours) AS last) place
    CROSS JOIN LATERAL unnest(
        g.visit_hours[place.first:place.last], g.visits[place.first:place.last]) AS v (hour, visits)
    CROSS JOIN LATERAL (SELECT %(until_s)s + (v.hour - %(first_h)s) * 3600.0 AS begins_s) b
    WHERE g.publication_id = %(publication_id)s AND g.wave = %(wave)s AND g.seen = 0
      AND g.visits IS NOT NULL
      AND NOT EXISTS (SELECT FROM unnest(%(bot_ids)s::text[]) AS n (bot_id) WHERE n.bot_id = g.bot_id)
    GROUP BY g.bot_id
"""


# -- the control -----------------------------------------------------------------------------------


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
