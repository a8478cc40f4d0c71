"""What was executed before a wave: by V1, as far as the platform keeps rows of that.

Read once a wave, as many hours back as can be read in `MOST_MS`.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

import sqlalchemy as sa

from worker.core.publication.baseline import NOTHING, Count, Metric
from worker.core.publication.states import LIVE
from worker.core.publication.visits import DAY_H
from worker.db.publication.traffic import (
    Columns,
    Rules,
    bound,
    columns,
    costly,
    seen_sql,
    slow,
)

MOST_MS: Final = 10_000
"""Longest time of one statement here."""

LEAST_KNOWN: Final = 20
"""With fewer successes of V1 a bot's 95th percentile is not known."""

SLOWER_MS: Final = 500
"""A bot is slow that takes so much longer than 95 % of V1's executions did."""

COSTLIER: Final = 1.25
"""A bot is costly that takes so many times the tokens of 95 % of V1's executions."""


# V1's rows name no version. Those of the version that a bot had before say how many come to it.
_BEFORE: Final = """
    SELECT b.bot_id, s.version_id IS NULL AS is_v1, s.failed, s.overran, s.elapsed, s.tokens,
           floor(EXTRACT(epoch FROM s.at - CAST(:since AS timestamptz)) / 3600)::int2 AS hour,
           COALESCE(s.session_id, s.id) AS visitor
    FROM ({seen}) s
    JOIN flowshift.publication_bots b ON b.bot_id = s.bot_id
    WHERE b.publication_id = :publication_id AND b.wave = :wave
      AND (s.version_id IS NULL OR s.version_id = b.previous_id::text)
"""

_ANY: Final = "SELECT EXISTS ({before})"

_FIND: Final = """
    WITH mine AS MATERIALIZED ({before}), v1 AS (
        SELECT m.bot_id,
               CASE WHEN count(m.elapsed) >= {least} THEN
                   percentile_disc(0.95) WITHIN GROUP (ORDER BY m.elapsed) + {slower} END AS slow_over_ms,
               CASE WHEN count(m.tokens) >= {least} THEN
                   percentile_disc(0.95) WITHIN GROUP (ORDER BY m.tokens) * {costlier} END AS costly_over
        FROM mine m WHERE m.is_v1 AND NOT m.failed GROUP BY m.bot_id
    ), hours AS (
        SELECT m.bot_id, m.hour, count(DISTINCT m.visitor)::int AS visits FROM mine m GROUP BY 1, 2
    ), visits AS (
        SELECT h.bot_id, array_agg(h.hour ORDER BY h.hour) AS hours,
               array_agg(h.visits ORDER BY h.hour) AS visits
        FROM hours h GROUP BY 1
    ), kept AS (
        INSERT INTO flowshift.gate_bots
            (publication_id, wave, bot_id, slow_over_ms, costly_over, visit_hours, visits)
        SELECT :publication_id, :wave, n.bot_id, v1.slow_over_ms, v1.costly_over, n.hours, n.visits
        FROM visits n LEFT JOIN v1 ON v1.bot_id = n.bot_id
        ORDER BY n.bot_id
        ON CONFLICT (publication_id, wave, bot_id) DO UPDATE
        SET slow_over_ms = excluded.slow_over_ms, costly_over = excluded.costly_over,
            visit_hours = excluded.visit_hours, visits = excluded.visits
    )
    SELECT count(*) AS executions, count(*) FILTER (WHERE s.failed) AS failed,
           count(*) FILTER (WHERE {slow}) AS slow, count(*) FILTER (WHERE {costly}) AS costly,
           count(s.elapsed) AS timed, count(s.tokens) AS metered
    FROM mine s LEFT JOIN v1 ON v1.bot_id = s.bot_id
    WHERE s.is_v1 AND s.failed IS NOT NULL
"""

# Of bots that were out before, and of V1 where there are none, in each hour of the last day.
_CONTROL: Final = """
    SELECT floor(EXTRACT(epoch FROM s.at - CAST(:since AS timestamptz)) / 3600)::int AS hour,
           count(DISTINCT (s.bot_id, COALESCE(s.session_id, s.id)))
               FILTER (WHERE s.version_id IS NOT NULL) AS waves,
           count(DISTINCT (s.bot_id, COALESCE(s.session_id, s.id)))
               FILTER (WHERE s.version_id IS NULL) AS v1
    FROM ({seen}) s
    LEFT JOIN (
        SELECT o.bot_id, o.version_id FROM flowshift.publication_bots o
        JOIN flowshift.waves w ON w.publication_id = o.publication_id AND w.number = o.wave
        WHERE o.state = ANY (:live) AND w.state IN ('passed', 'accepted')
    ) p ON p.bot_id = s.bot_id AND p.version_id::text = s.version_id
    WHERE p.bot_id IS NOT NULL
       OR s.version_id IS NULL AND NOT EXISTS (
           SELECT FROM flowshift.publication_bots b
           WHERE b.bot_id = s.bot_id AND b.publication_id = :publication_id AND b.wave = :wave)
    GROUP BY 1 ORDER BY 1
"""

_LIMIT_TIME: Final = sa.text("""
    SELECT set_config('statement_timeout', LEAST(:most, NULLIF(setting::int, 0))::text, true)
    FROM pg_settings WHERE name = 'statement_timeout'
""")


def limit_time(connection: sa.Connection) -> None:
    """Give each statement of this transaction at most `MOST_MS`."""
    connection.execute(_LIMIT_TIME, {"most": MOST_MS})


def is_any(
    connection: sa.Connection, publication_id: int, wave: int, rules: Rules, until: datetime
) -> bool:
    """Whether anything came to a wave's bots in the day before `until`."""
    since = until - timedelta(hours=DAY_H)
    query = sa.text(_ANY.format(before=_before(columns(connection))))
    found: bool = connection.execute(
        query, _values(publication_id, wave, rules, since, until)
    ).scalar_one()
    return found


def find(
    connection: sa.Connection,
    publication_id: int,
    wave: int,
    rules: Rules,
    *,
    until: datetime,
    hours: int,
) -> dict[Metric, Count]:
    """How V1 did in so many hours before `until`, by the wave's bots; and keep what is known of each.

    That is over how much it is slow and costly, and how many visitors came in which hour. On repeat
    the same is kept.
    """
    query = sa.text(
        _FIND.format(
            before=_before(columns(connection)),
            least=LEAST_KNOWN,
            slower=SLOWER_MS,
            costlier=COSTLIER,
            slow=slow("v1.slow_over_ms"),
            costly=costly("v1.costly_over"),
        )
    )
    values = _values(publication_id, wave, rules, until - timedelta(hours=hours), until)
    row = connection.execute(query, values).one()
    return {
        "failed": Count(row.failed, row.executions),
        "slow": Count(row.slow, row.executions) if row.timed else NOTHING,
        "costly": Count(row.costly, row.executions) if row.metered else NOTHING,
    }


def control_by_hour(
    connection: sa.Connection, publication_id: int, wave: int, rules: Rules, until: datetime
) -> tuple[int, ...]:
    """How many visitors came to the control in each hour of the day before `until`, the oldest first.

    The bots that are out are the control, else V1's. What was not out yet in an hour adds nothing to it.
    """
    query = sa.text(_CONTROL.format(seen=seen_sql(columns(connection))))
    values = _values(publication_id, wave, rules, until - timedelta(hours=DAY_H), until)
    rows = connection.execute(query, {**values, "live": list(LIVE)}).all()
    who = "waves" if any(row.waves for row in rows) else "v1"
    came = {row.hour: getattr(row, who) for row in rows}
    return tuple(came.get(hour, 0) for hour in range(DAY_H))


def _before(found: Columns) -> str:
    return _BEFORE.format(seen=seen_sql(found))


def _values(
    publication_id: int, wave: int, rules: Rules, since: datetime, until: datetime
) -> dict[str, object]:
    return {**bound(rules, since, until), "publication_id": publication_id, "wave": wave}
