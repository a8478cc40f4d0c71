"""Times of the week in which runs wait: reading them, and whether it is such a time now."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

import msgspec

_DAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_HOURS = re.compile(r"(?:([a-z]{3})(?:-([a-z]{3}))?\s+)?(\d{1,2}):(\d{2})-(\d{1,2}):(\d{2})")


class Hours(msgspec.Struct, frozen=True):
    """A time of the week: on `days` (1 is Monday) from one minute until before another.

    An end at or before the start is on the next day.
    """

    days: frozenset[int]
    start: int
    end: int


def parse_hours(text: str) -> tuple[Hours, ...]:
    """Read times of the week such as `mon-fri 09:00-18:00, sat 10:00-14:00`; without days, daily.

    Raises:
        ValueError: says which part is not one.

    >>> parse_hours("sat-sun 22:00-06:00")
    (Hours(days=frozenset({6, 7}), start=1320, end=360),)
    """
    return tuple(_hours(part.strip().lower()) for part in text.split(",") if part.strip())


def _hours(part: str) -> Hours:
    found = _HOURS.fullmatch(part)
    if found is None:
        raise ValueError(f"{part!r} is no time such as mon-fri 09:00-18:00")
    first, last, *numbers = found.groups()
    hour, minute, end_hour, end_minute = map(int, numbers)
    start, end = hour * 60 + minute, end_hour * 60 + end_minute
    if minute > 59 or end_minute > 59 or start >= 24 * 60 or end > 24 * 60:
        raise ValueError(f"{part!r} has a time that no clock shows")
    return Hours(_days(part, first, last), start, end)


def _days(part: str, first: str | None, last: str | None) -> frozenset[int]:
    if first is None:
        return frozenset(range(1, 8))
    if first not in _DAYS or (last or first) not in _DAYS:
        raise ValueError(f"{part!r} names a day that is none of {', '.join(_DAYS)}")
    start = _DAYS.index(first)
    length = (_DAYS.index(last or first) - start) % 7 + 1
    return frozenset((start + n) % 7 + 1 for n in range(length))


def is_within(hours: Iterable[Hours], weekday: int, minute: int) -> bool:
    """Whether a minute of the week is in one of these times.

    >>> night = parse_hours("fri 22:00-06:00")
    >>> is_within(night, 5, 1380), is_within(night, 6, 300), is_within(night, 5, 300)
    (True, True, False)
    """
    yesterday = (weekday - 2) % 7 + 1
    for one in hours:
        overnight = one.end <= one.start
        if weekday in one.days and one.start <= minute < (24 * 60 if overnight else one.end):
            return True
        if overnight and yesterday in one.days and minute < one.end:
            return True
    return False
