"""How much slower V2 is than V1, over any number of bots, in little space.

Each batch keeps how many bots had which overhead, rounded to two digits; the counts of batches add
up, so that the percentiles of ten million bots come from a few hundred numbers. They are exact to
the rounding, 5 % at the worst.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import accumulate
from typing import Final

import msgspec

LIMIT_US: Final = 500_000
"""The platform's limit: V2 may take half a second longer than V1 (design section 4)."""

SLOW_KEPT: Final = 20
"""The slowest bots above the limit that a batch remembers by name."""


class SlowBot(msgspec.Struct, frozen=True):
    """A bot whose draft takes longer than V1 by more than the limit."""

    bot_id: str
    overhead_us: int


class Overhead(msgspec.Struct, frozen=True):
    """The overheads of some bots, in microseconds; negative where V2 was faster.

    `counts` is by rounded overhead; `slow` the slowest above the limit, the slowest first.
    """

    counts: dict[int, int] = {}
    max_us: int | None = None
    over_limit: int = 0
    slow: tuple[SlowBot, ...] = ()


class Summary(msgspec.Struct, frozen=True):
    """What a person wants to know of it."""

    bots: int
    p50_us: int
    p90_us: int
    p99_us: int
    max_us: int
    over_limit: int
    slow: tuple[SlowBot, ...]


def rounded(us: int) -> int:
    """`us` to two digits.

    >>> rounded(7), rounded(1_249), rounded(-1_250), rounded(99_999)
    (7, 1200, -1300, 100000)
    """
    step = int(10 ** max(0, len(str(abs(us))) - 2))
    return (abs(us) + step // 2) // step * step * (1 if us >= 0 else -1)


def measure(overheads: Iterable[tuple[str, int]]) -> Overhead:
    """Gather (bot, overhead in microseconds)."""
    counts: dict[int, int] = {}
    slow: list[SlowBot] = []
    max_us = None
    for bot_id, us in overheads:
        key = rounded(us)
        counts[key] = counts.get(key, 0) + 1
        max_us = us if max_us is None else max(max_us, us)
        if us > LIMIT_US:
            slow.append(SlowBot(bot_id, us))
    return Overhead(counts, max_us, len(slow), _slowest(slow))


def _slowest(bots: Iterable[SlowBot]) -> tuple[SlowBot, ...]:
    return tuple(sorted(bots, key=lambda bot: (-bot.overhead_us, bot.bot_id))[:SLOW_KEPT])


def summarize(
    counts: Mapping[int, int], max_us: int | None, over_limit: int, slow: Iterable[SlowBot]
) -> Summary | None:
    """Add up what batches kept; None if nothing was measured.

    >>> summarize({10: 98, 20: 1, 900_000: 1}, 912_345, 1, [SlowBot("b", 912_345)]).p99_us
    20
    """
    bots = sum(counts.values())
    if not bots or max_us is None:
        return None
    keys = sorted(counts)
    seen = list(accumulate(counts[key] for key in keys))

    def percentile(percent: int) -> int:
        wanted = -(-bots * percent // 100)
        found = next(key for key, upto in zip(keys, seen, strict=True) if upto >= wanted)
        return min(found, max_us)

    return Summary(
        bots, percentile(50), percentile(90), percentile(99), max_us, over_limit, _slowest(slow)
    )
