"""Publications that are not over, their waves, and what the gate read last of those it watches."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec
import sqlalchemy as sa

from worker.core.publication.baseline import NOTHING, Count, Metric
from worker.core.publication.evidence import MetricReading


class Open(msgspec.Struct, frozen=True, kw_only=True):
    """How many publications and waves are in each state; `looked_s` since the gate looked at the
    watched wave that it looked at longest ago, None if none is watched."""

    publications: Mapping[str, int]
    waves: Mapping[str, int]
    looked_s: float | None


_PUBLICATIONS: Final = sa.text("""
    SELECT p.state, count(*),
           max(extract(epoch FROM now() - COALESCE(p.looked_at, p.moved_at))::float8)
               FILTER (WHERE p.state = 'watching')
    FROM flowshift.publications p WHERE p.finished_at IS NULL GROUP BY 1
""")

_WAVES: Final = sa.text("""
    SELECT w.state, count(*) FROM flowshift.publications p
    JOIN flowshift.waves w ON w.publication_id = p.publication_id
    WHERE p.finished_at IS NULL GROUP BY 1
""")

_LAST_READINGS: Final = sa.text("""
    SELECT (r.reading -> 'metrics')::text
    FROM flowshift.publications p
    JOIN flowshift.waves w ON w.publication_id = p.publication_id AND w.state = 'watching'
    CROSS JOIN LATERAL (
        SELECT g.reading FROM flowshift.gate_readings g
        WHERE g.publication_id = p.publication_id AND g.wave = w.number
        ORDER BY g.reading_id DESC LIMIT 1) r
    WHERE p.finished_at IS NULL
""")

_decoder: Final = msgspec.json.Decoder(tuple[MetricReading, ...])


def open_now(connection: sa.Connection) -> Open:
    """Publications that are not over, and their waves, by state."""
    rows = connection.execute(_PUBLICATIONS).all()
    return Open(
        publications={state: count for state, count, _ in rows},
        waves={row[0]: row[1] for row in connection.execute(_WAVES)},
        looked_s=max((looked_s for *_, looked_s in rows if looked_s is not None), default=None),
    )


def last_counts(connection: sa.Connection) -> dict[Metric, Count]:
    """What the last readings of the waves that are watched counted, added up by metric."""
    found: dict[Metric, Count] = {}
    for text in connection.scalars(_LAST_READINGS):
        for one in _decoder.decode(text):
            was = found.get(one.metric, NOTHING)
            found[one.metric] = Count(
                was.failed + one.count.failed, was.executions + one.count.executions
            )
    return found
