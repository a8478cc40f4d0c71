"""Pruning: ages, the time of day at which a prune is due, and how many rows a batch takes."""

from __future__ import annotations

import re
from typing import Final

DAY_S: Final = 86_400
MAX_AGE_S: Final = 36_500 * DAY_S
"""A hundred years: further back no time of PostgreSQL's is in danger."""

START_WITHIN_S: Final = 3_600
"""A prune that has not begun within this time after its hour waits for the next day."""

TARGET_MS: Final = 150.0
"""What a batch should take, well below the limit: durations vary by a factor of two or so."""

LIMIT_MS: Final = 400
"""A statement that takes longer is given up, so that with its commit it stays below 500 ms."""

LOCK_MS: Final = 100
"""A batch waits this long for a lock that the platform holds, then gives way."""

FIRST_SIZE: Final = 500
MAX_SIZE: Final = 20_000

_UNITS: Final = {"s": 1, "m": 60, "h": 3_600, "d": DAY_S, "w": 7 * DAY_S}
_AGE: Final = re.compile(r"([0-9]{1,10})\s*([smhdw])")


def parse_age(text: str) -> int:
    """An age such as `30d` or `12h` in seconds; the units are s, m, h, d and w.

    Raises:
        ValueError: it is no age, or not from one second to a hundred years; says what it should be.

    >>> parse_age("30d"), parse_age("12h"), parse_age("2w")
    (2592000, 43200, 1209600)
    """
    matched = _AGE.fullmatch(text.strip().lower())
    age_s = int(matched[1]) * _UNITS[matched[2]] if matched else 0
    if not 1 <= age_s <= MAX_AGE_S:
        raise ValueError(f"{text!r} is no age: a number and one of s, m, h, d, w, such as 30d")
    return age_s


def slot_at(now_s: int, at: str) -> int | None:
    """The last time that it was `at` (UTC, `HH:MM`), in seconds since 1970; None for `never`.

    >>> slot_at(3 * DAY_S + 3_600, "00:30") == 3 * DAY_S + 1_800
    True
    >>> slot_at(3 * DAY_S + 3_600, "01:30") == 2 * DAY_S + 5_400
    True
    """
    if at == "never":
        return None
    hours, _, minutes = at.partition(":")
    of_day_s = int(hours) * 3_600 + int(minutes) * 60
    return (now_s - of_day_s) // DAY_S * DAY_S + of_day_s


def may_begin(now_s: int, slot_s: int) -> bool:
    """Whether a prune may still begin: not hours late, during working hours."""
    return now_s - slot_s < START_WITHIN_S


def size_after(size: int, duration_ms: float) -> int:
    """How many rows the next batch takes, after one of `size` rows took `duration_ms`.

    In proportion to `TARGET_MS`, at most doubled and at least halved, so that one odd measurement
    changes little: the rule of `--chunk-time` in Percona's pt-online-schema-change, with bounds.

    >>> size_after(1_000, 300), size_after(1_000, 140), size_after(1_000, 10), size_after(1, 9_000)
    (500, 1071, 2000, 1)
    """
    factor = min(2.0, max(0.5, TARGET_MS / max(duration_ms, 1.0)))
    return min(MAX_SIZE, max(1, int(size * factor)))


def size_after_timeout(size: int) -> int:
    """How many rows to try after a batch of `size` rows ran out of time: a quarter.

    Less than half, because what took too long was thrown away; River's job cleaner shrinks too.

    >>> size_after_timeout(1_000), size_after_timeout(3), size_after_timeout(1)
    (250, 1, 1)
    """
    return max(1, size // 4)
