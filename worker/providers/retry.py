"""When a provider that did not answer is asked again."""

from __future__ import annotations

import datetime as dt
import re
from email.utils import parsedate_to_datetime
from typing import Final

FIRST_PAUSE_S: Final = 0.5
LONGEST_PAUSE_S: Final = 8.0

_SECONDS = re.compile(r"[0-9]+(?:\.[0-9]+)?", re.ASCII)


def pause_s(tries: int, retry_after_s: float | None, jitter: float) -> float:
    """Seconds to wait after so many tries; `jitter` is any number from 0 to 1.

    It doubles each time, up to a bound, half of it at random. Where the provider said how long, it
    is never less than that, and a little more, so that not every process comes back at once.

    >>> [pause_s(tries, None, 1.0) for tries in (1, 2, 3, 50)]
    [0.5, 1.0, 2.0, 8.0]
    >>> pause_s(1, None, 0.0), pause_s(1, 20.0, 0.0), pause_s(1, 20.0, 1.0)
    (0.25, 20.0, 20.5)
    """
    if retry_after_s is not None:
        return retry_after_s + FIRST_PAUSE_S * jitter
    longest = min(FIRST_PAUSE_S * 2.0 ** min(tries - 1, 10), LONGEST_PAUSE_S)
    return longest * (1 + jitter) / 2


def retry_after_s(value: str | None, now: dt.datetime) -> float | None:
    """The seconds that a `Retry-After` header asks for; None if it says nothing usable.

    It holds seconds or a date (RFC 9110, section 10.2.3). A date that is past asks for none;
    a number beyond all measure is infinite.

    >>> noon = dt.datetime(2026, 1, 1, 12, tzinfo=dt.UTC)
    >>> retry_after_s("120", noon), retry_after_s("Thu, 01 Jan 2026 12:00:30 GMT", noon)
    (120.0, 30.0)
    >>> retry_after_s("soon", noon), retry_after_s("-5", noon), retry_after_s("9" * 400, noon)
    (None, None, inf)
    """
    text = (value or "").strip()
    if _SECONDS.fullmatch(text):
        return float(text)
    try:
        until = parsedate_to_datetime(text)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    if until.tzinfo is None:  # "-0000", or no zone at all
        until = until.replace(tzinfo=dt.UTC)
    return max(0.0, (until - now).total_seconds())
