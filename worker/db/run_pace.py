"""How a run went over time: its batches, added up over equal slices of its time."""

from __future__ import annotations

from typing import Final

import msgspec
import sqlalchemy as sa

MOST_SLICES: Final = 120
FEWEST_SLICES: Final = 8


class Slice(msgspec.Struct, frozen=True):
    """What ended in one slice of time: `batch_ms` is the mean of its batches, None if none ended."""

    bots: int
    failed: int
    batches: int
    batch_ms: float | None


class Pace(msgspec.Struct, frozen=True):
    """A run in slices of `slice_s` seconds each, from its begin; while it goes on the last one is now."""

    span_s: float
    slices: tuple[Slice, ...]

    @property
    def slice_s(self) -> float:
        """How long one slice lasts."""
        return self.span_s / len(self.slices)


_EMPTY: Final = Slice(0, 0, 0, None)

# A paused run ends with its last batch: nothing happens after it.
_PACE: Final = sa.text("""
    WITH run AS (
        SELECT r.run_id, COALESCE(r.started_at, r.created_at) AS began,
               COALESCE(r.finished_at, CASE WHEN r.state = 'paused' THEN
                   (SELECT max(b.finished_at) FROM flowshift.batches b WHERE b.run_id = r.run_id) END,
                   now()) AS ended
        FROM flowshift.runs r WHERE r.run_id = :run_id
    ), span AS (
        SELECT run_id, began, greatest(extract(epoch FROM ended - began), 1)::float8 AS span_s FROM run
    )
    SELECT s.span_s,
           greatest(least(floor(extract(epoch FROM b.finished_at - s.began) / s.span_s * :slices)::int,
                          :slices - 1), 0) AS slice,
           COALESCE(sum(b.converted + b.unchanged + b.published + b.rolled_back + b.skipped + b.failed),
                    0)::bigint AS bots,
           COALESCE(sum(b.failed), 0)::bigint AS failed,
           count(b.number) AS batches,
           avg(b.duration_ms)::float8 AS batch_ms
    FROM span s LEFT JOIN flowshift.batches b ON b.run_id = s.run_id AND b.finished_at IS NOT NULL
    GROUP BY 1, 2 ORDER BY 2
""")


def slices_for(batches: int) -> int:
    """Into how many slices a run of so many batches is cut: two batches or more in each, on average.

    >>> slices_for(0), slices_for(50), slices_for(100_000)
    (8, 25, 120)
    """
    return min(MOST_SLICES, max(FEWEST_SLICES, batches // 2))


def pace(connection: sa.Connection, run_id: int, batches: int) -> Pace:
    """How a run of so many batches went, in one pass over them; empty for a run that is not there."""
    slices = slices_for(batches)
    found = list(connection.execute(_PACE, {"run_id": run_id, "slices": slices}))
    by_slice = {
        row.slice: Slice(row.bots, row.failed, row.batches, row.batch_ms)
        for row in found
        if row.batches
    }
    span_s = found[0].span_s if found else 1.0
    return Pace(span_s, tuple(by_slice.get(number, _EMPTY) for number in range(slices)))
