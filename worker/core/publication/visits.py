"""How many visitors should have come, by those who came before: cautiously, since days differ."""

from __future__ import annotations

import math
from collections.abc import Sequence
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


def expected_by(hours: Sequence[int], elapsed_s: float) -> float:
    """How many visitors should have come in so many seconds, cautiously, by the day before.

    `hours` are the day before by the hour, the oldest first: what came yesterday between 3 and 4 is
    expected between 3 and 4, so that a quiet night is no silence. Nothing more is expected after a day.

    >>> expected_by([0] * 8 + [100] * 16, 8 * HOUR_S), round(expected_by([0] * 8 + [100] * 16, 9 * HOUR_S))
    (0.0, 84)
    >>> round(expected_by([100], HOUR_S / 2)), round(expected_by([100], HOUR_S * 9))
    (38, 84)
    """
    came = 0.0
    for place, visits in enumerate(hours):
        share = min(1.0, max(0.0, elapsed_s / HOUR_S - place))
        came += share * visits
    return at_least(came)


def period_h(hours: int) -> int:
    """After how many hours traffic repeats, where so many are known; 0 where too few are.

    >>> period_h(168), period_h(100), period_h(23)
    (168, 24, 0)
    """
    if hours >= WEEK_H:
        return WEEK_H
    return DAY_H if hours >= DAY_H else 0
