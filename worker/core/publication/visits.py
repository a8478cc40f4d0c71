"""How many visitors should have come, by those who came before: cautiously, since days differ."""

from __future__ import annotations

import math
from typing import Final

HOUR_S: Final = 3_600.0
DAY_H: Final = 24
WEEK_H: Final = 168

_Z: Final = 1.6448536269514722  # 95 % of a normal distribution is below


def at_least(came: float) -> float:
    """The lower end of a 95 % interval of how many come, where `came` came in as long a time.

    >>> at_least(2), round(at_least(13), 1), round(at_least(100), 1)
    (0.0, 7.1, 83.6)
    """
    return max(0.0, came - _Z * math.sqrt(came))


def period_h(hours: int) -> int:
    """After how many hours traffic repeats, where so many are known; 0 where too few are.

    >>> period_h(168), period_h(100), period_h(23)
    (168, 24, 0)
    """
    if hours >= WEEK_H:
        return WEEK_H
    return DAY_H if hours >= DAY_H else 0
