"""Histograms: where a value belongs, and what can be said of the values from their counts."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from itertools import zip_longest


def bucket_of(value: float, bounds: Sequence[float]) -> int:
    """The place of the bucket of a value: the first whose upper bound is not below it.

    >>> bucket_of(0.1, (0.1, 1.0)), bucket_of(0.2, (0.1, 1.0)), bucket_of(7, (0.1, 1.0))
    (0, 1, 2)
    """
    return bisect_left(bounds, value)


def added(one: Sequence[int], other: Sequence[int]) -> tuple[int, ...]:
    """Counts of two histograms together; one that was kept with fewer buckets ends earlier.

    >>> added((1, 2), (1, 1, 1))
    (2, 3, 1)
    """
    return tuple(map(sum, zip_longest(one, other, fillvalue=0)))


def quantile(share: float, counts: Sequence[int], bounds: Sequence[float]) -> float | None:
    """The value below which `share` (0 to 1) of the observations are; None if there are none.

    As Prometheus' histogram_quantile does it: within a bucket values count as spread evenly, the first
    begins at 0, and what is above the last bound counts as that bound.

    >>> quantile(0.5, (0, 10, 0), (0.1, 0.3)), quantile(0.99, (1, 0, 5), (0.1, 0.3))
    (0.2, 0.3)
    """
    wanted = share * sum(counts)
    if not sum(counts):
        return None
    below = 0
    for place, count in enumerate(counts[: len(bounds)]):
        if count and below + count >= wanted:
            low = bounds[place - 1] if place else 0.0
            return low + (bounds[place] - low) * (wanted - below) / count
        below += count
    return bounds[-1]
