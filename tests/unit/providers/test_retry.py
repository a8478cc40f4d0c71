"""Pauses between tries, and what a server's Retry-After says."""

from __future__ import annotations

import datetime as dt
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.providers.retry import LONGEST_PAUSE_S, pause_s, retry_after_s

NOON = dt.datetime(2026, 1, 1, 12, tzinfo=dt.UTC)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("0", 0.0),
        (" 30 ", 30.0),
        ("1.5", 1.5),
        ("9" * 400, math.inf),
        ("Thu, 01 Jan 2026 12:02:00 GMT", 120.0),
        ("Thu, 01 Jan 2026 13:02:00 +0100", 120.0),
        ("Thu, 01 Jan 2026 12:02:00", 120.0),
        ("Thu, 01 Jan 2026 12:02:00 -0000", 120.0),
        ("Thu, 01 Jan 2015 12:00:00 GMT", 0.0),
        (None, None),
        ("", None),
        ("soon", None),
        ("-1", None),
        ("nan", None),
        ("inf", None),
        ("1_000", None),
        ("٣", None),
        ("Thu, 99 Jan 2026 12:00:00 GMT", None),
        ("Thu, 01 Jan 99999 12:00:00 GMT", None),
    ],
)
def test_retry_after_holds_seconds_or_a_date(value: str | None, seconds: float | None) -> None:
    assert retry_after_s(value, NOON) == seconds


@given(st.text())
def test_whatever_a_server_sends_is_a_time_from_zero_or_nothing(value: str) -> None:
    seconds = retry_after_s(value, NOON)

    assert seconds is None or seconds >= 0


@given(st.integers(1, 10_000), st.floats(0, 1), st.none() | st.floats(0, 1e9))
def test_a_pause_is_bounded_unless_the_server_asks_for_longer(
    tries: int, jitter: float, asked: float | None
) -> None:
    pause = pause_s(tries, asked, jitter)

    if asked is None:
        assert 0 < pause <= LONGEST_PAUSE_S
    else:
        assert asked <= pause <= asked + 0.5
