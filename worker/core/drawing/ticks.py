"""Round numbers for the axes of a plot."""

from __future__ import annotations

import math
from typing import Final

_STEPS: Final = (1.0, 2.0, 2.5, 5.0, 10.0)
_MINUTE, _HOUR, _DAY = 60.0, 3_600.0, 86_400.0
_TIMES: Final = (
    *(1.0, 2.0, 5.0, 10.0, 15.0, 30.0),
    *(one * _MINUTE for one in (1, 2, 5, 10, 15, 30)),
    *(one * _HOUR for one in (1, 2, 3, 6, 12)),
    *(one * _DAY for one in (1, 2, 7, 14, 28)),
)


def ticks(highest: float, most: int = 5) -> list[float]:
    """Round numbers from 0 to the first that is at least `highest`; at most `most` above 0.

    >>> ticks(87), ticks(0.3), ticks(0)
    ([0.0, 20.0, 40.0, 60.0, 80.0, 100.0], [0.0, 0.1, 0.2, 0.3], [0.0, 1.0])
    """
    if not highest > 0:
        return [0.0, 1.0]
    scale = 10.0 ** math.floor(math.log10(highest / most))
    step = next(scale * one for one in _STEPS if scale * one * most >= highest * (1 - 1e-9))
    count = max(1, min(most, math.ceil(highest / step - 1e-9)))
    return [_round(step * number) for number in range(count + 1)]


def time_ticks(seconds: float, most: int = 6) -> list[float]:
    """Round times from 0 to `seconds` at most: seconds, minutes, hours or days.

    >>> time_ticks(95), time_ticks(4_000), time_ticks(0)
    ([0.0, 30.0, 60.0, 90.0], [0.0, 900.0, 1800.0, 2700.0, 3600.0], [0.0])
    """
    found = next((one for one in _TIMES if one * most >= seconds), None)
    step = found or _DAY * math.ceil(seconds / most / _DAY)
    return [step * number for number in range(int(seconds // step) + 1)]


def time_label(seconds: float) -> str:
    """A time on an axis.

    >>> [time_label(one) for one in (0, 30, 90, 3_600, 5_400, 172_800)]
    ['0', '30 s', '1.5 min', '1 h', '1.5 h', '2 d']
    """
    if not seconds:
        return "0"
    for length, unit in ((_DAY, "d"), (_HOUR, "h"), (_MINUTE, "min")):
        if seconds >= length:
            return f"{seconds / length:g} {unit}"
    return f"{seconds:g} s"


def number_label(value: float) -> str:
    """A number on an axis or in a sentence: no more digits than a person reads.

    >>> [number_label(one) for one in (0, 0.25, 12.5, 1_234.56, 1_200_000, 3e12)]
    ['0', '0.25', '12.5', '1,235', '1.2 M', '3e+12']
    """
    if abs(value) >= 1e9:
        return f"{value:.3g}"
    if abs(value) >= 1e6:
        return f"{value / 1e6:g} M" if value % 1e5 == 0 else f"{value / 1e6:.2f} M"
    return f"{value:,.0f}" if abs(value) >= 100 or value == int(value) else f"{value:.3g}"


def _round(value: float) -> float:
    return float(f"{value:.10g}")
