"""How often one address may ask: a bucket that fills steadily, and is emptied by requests."""

from __future__ import annotations

import math
from collections import OrderedDict
from typing import Final

AT_ONCE: Final = 4
"""A full bucket holds the requests of so many seconds."""

MOST_BUCKETS: Final = 10_000
"""So many addresses are remembered; the one that asked longest ago is forgotten first."""


class Rate:
    """How many requests each address has left. Times are seconds of one clock."""

    def __init__(self, per_s: int) -> None:
        """`per_s` requests a second; 0 is no limit."""
        self._per_s = per_s
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def wait_s(self, who: str, now: float, cost: float = 1.0) -> int:
        """0 if `who` may ask now, which is counted; else the seconds until they may.

        >>> rate = Rate(1)
        >>> [rate.wait_s("a", 0.0) for _ in range(5)], rate.wait_s("b", 0.0), rate.wait_s("a", 1.5)
        ([0, 0, 0, 0, 1], 0, 0)
        """
        if not self._per_s:
            return 0
        left = self._left(who, now)
        if left < 1:
            return math.ceil((1 - left) / self._per_s)
        self._keep(who, left - cost, now)
        return 0

    def charge(self, who: str, now: float, cost: float) -> None:
        """Take more from the bucket of `who`, for what is dear or suspicious."""
        if self._per_s:
            self._keep(who, self._left(who, now) - cost, now)

    def _left(self, who: str, now: float) -> float:
        full = float(AT_ONCE * self._per_s)
        left, at = self._buckets.get(who, (full, now))
        return min(full, left + (now - at) * self._per_s)

    def _keep(self, who: str, left: float, now: float) -> None:
        self._buckets[who] = (left, now)
        self._buckets.move_to_end(who)
        if len(self._buckets) > MOST_BUCKETS:
            self._buckets.popitem(last=False)
