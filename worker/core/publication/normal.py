"""What a wave is held against, found at its first look and kept: bets are fair on what was said before."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

import msgspec

from worker.core.publication.baseline import (
    METRICS,
    NOTHING,
    Baseline,
    Count,
    Metric,
    baseline,
    refuted_rate,
)
from worker.core.publication.e_values import log_e_above
from worker.core.publication.minimum import cap


class Normal(msgspec.Struct, frozen=True, kw_only=True):
    """What is normal by each metric, and how many visitors come.

    `hours` before `until_s` were read of V1. `control_hours` are how many visitors came to the bots that
    were out before in each of the last 24 hours before `until_s`, the oldest first; those that were not
    out yet add nothing.
    """

    failed: Baseline
    slow: Baseline
    costly: Baseline
    until_s: float = 0.0
    hours: int = 0
    control_hours: tuple[int, ...] = ()

    def of(self, metric: Metric) -> Baseline:
        """What is normal by one metric."""
        found: Baseline = getattr(self, metric)
        return found


def normal(
    v1: Mapping[Metric, Count],
    waves: Mapping[Metric, Count],
    *,
    until_s: float = 0.0,
    hours: int = 0,
    control_hours: tuple[int, ...] = (),
) -> Normal:
    """What is normal, by the executions of V1 and of the waves that were accepted before.

    >>> normal({}, {"failed": Count(9, 1_000)}).failed.source
    'waves'
    """
    by = {m: baseline(m, v1=v1.get(m, NOTHING), waves=waves.get(m, NOTHING)) for m in METRICS}
    return Normal(
        failed=by["failed"],
        slow=by["slow"],
        costly=by["costly"],
        until_s=until_s,
        hours=hours,
        control_hours=control_hours,
    )


def cap_of(bots: int, against: Normal, metrics: Iterable[Metric], p1: float) -> int:
    """How many executions of each bot count, so that the wave can pass by every metric."""
    lowest = min(refuted_rate(against.of(metric).p0, p1) for metric in metrics)
    return cap(bots, lowest)


def least_bad(p0: float, false_share: float) -> int:
    """How many of a bot's executions have to be bad before that can matter at all.

    >>> least_bad(0.02, 0.05), least_bad(0.9, 0.05)
    (2, 56)
    """
    bad: int = 1
    while log_e_above(bad, bad, p0) < -math.log(false_share):
        bad += 1
    return bad
