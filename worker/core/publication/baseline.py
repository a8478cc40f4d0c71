"""What is normal: the rate of failures that a wave is held against."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Final, Literal, Self

import msgspec
from msgspec import Meta

Metric = Literal["failed", "slow", "costly"]
METRICS: Final[tuple[Metric, ...]] = ("failed", "slow", "costly")

DEFAULT_P0: Final[Mapping[Metric, float]] = {"failed": 0.02, "slow": 0.05, "costly": 0.05}
DEFAULT_P1: Final = 0.05

LEAST_ROWS: Final = 100
"""With fewer rows of V1 the bound is so wide that nothing would ever be seen to fail."""

LEAST_OF_WAVES: Final = 1_000
"""So many of the waves: with 2 bad ones of 100 the bound is 8 %, and 12 % would pass after that."""

MOST_P0: Final = 0.9
_POINT: Final = 0.01
_Z: Final = 1.959963984540054  # 97.5 % of a normal distribution is below

Source = Literal["v1", "waves", "default"]


class Count(msgspec.Struct, frozen=True):
    """`failed` of `executions`, in the sense of one metric."""

    failed: int = 0
    executions: int = 0

    @property
    def share(self) -> float:
        """The share that failed, 0 of nothing."""
        return self.failed / self.executions if self.executions else 0.0

    def plus(self, other: Count) -> Count:
        """Both together."""
        return Count(self.failed + other.failed, self.executions + other.executions)


NOTHING: Final = Count()

Number = Annotated[int, Meta(ge=0)]


class Sums(msgspec.Struct, frozen=True):
    """How many executions there were, and how many of them failed, were slow, were costly."""

    executions: Number = 0
    failed: Number = 0
    slow: Number = 0
    costly: Number = 0

    def plus(self, other: Self) -> Self:
        """Both together."""
        pairs = zip(msgspec.structs.astuple(self), msgspec.structs.astuple(other), strict=True)
        return type(self)(*(one + two for one, two in pairs))

    def count(self, metric: Metric) -> Count:
        """In the sense of one metric."""
        return Count(getattr(self, metric), self.executions)


class Baseline(msgspec.Struct, frozen=True):
    """The rate `p0` that is normal, and where it comes from."""

    p0: float
    source: Source


def wilson_upper(count: Count) -> float:
    """The upper end of Wilson's 95 % interval of a rate; 1 where nothing was executed.

    >>> round(wilson_upper(Count(0, 200)), 4), round(wilson_upper(Count(3, 100)), 4)
    (0.0188, 0.0845)
    """
    n = count.executions
    if n == 0:
        return 1.0
    rate, z2 = count.failed / n, _Z * _Z
    spread = _Z * math.sqrt(rate * (1 - rate) / n + z2 / (4 * n * n))
    return min(1.0, (rate + z2 / (2 * n) + spread) / (1 + z2 / n))


def baseline(metric: Metric, *, v1: Count = NOTHING, waves: Count = NOTHING) -> Baseline:
    """What is normal, by V1's own executions, else by the accepted waves, else by default.

    Measured: Wilson's upper bound and one point more, from `LEAST_ROWS` executions of V1, or
    `LEAST_OF_WAVES` of the waves, on.

    >>> baseline("failed"), baseline("slow", v1=Count(0, 99))
    (Baseline(p0=0.02, source='default'), Baseline(p0=0.05, source='default'))
    >>> baseline("failed", v1=Count(3, 100), waves=Count(9, 900)).source
    'v1'
    """
    measured: tuple[tuple[Source, Count, int], ...] = (
        ("v1", v1, LEAST_ROWS),
        ("waves", waves, LEAST_OF_WAVES),
    )
    for source, count, least in measured:
        if count.executions >= least:
            return Baseline(min(MOST_P0, wilson_upper(count) + _POINT), source)
    return Baseline(DEFAULT_P0[metric], "default")


def refuted_rate(p0: float, p1: float = DEFAULT_P1) -> float:
    """The rate that a wave has to refute in order to pass: `p1`, and at least twice what is normal.

    A wave that is as good as normal could never refute a rate that is near normal, or below it.

    >>> refuted_rate(0.02), refuted_rate(0.05), round(refuted_rate(0.8), 3)
    (0.05, 0.1, 0.9)
    """
    return max(p1, min(2 * p0, (1 + p0) / 2))
