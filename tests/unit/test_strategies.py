"""How many generated examples a test tries: by day, over a week, and at night."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.strategies import AT_ONCE, at_night, day, examples

pytestmark = pytest.mark.skipif(at_night(), reason="it is about the examples of a day")


def drawn(number: int) -> list[int]:
    """What a test of so many examples is given."""
    found: list[int] = []

    @examples(number)
    @given(st.integers(0, 2**64))
    def draw(value: int) -> None:
        found.append(value)

    draw()
    return found


def test_a_test_of_few_examples_tries_the_same_ones_every_day(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HYPOTHESIS_DAY", "1")
    monday = drawn(AT_ONCE)
    monkeypatch.setenv("HYPOTHESIS_DAY", "2")
    assert drawn(AT_ONCE) == monday
    assert len(monday) >= AT_ONCE


def test_a_test_of_many_tries_others_on_each_day_and_as_many_as_it_says_in_a_week(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    week: list[Any] = []
    for number in range(1, 8):
        monkeypatch.setenv("HYPOTHESIS_DAY", str(number))
        today = drawn(1_400)
        assert len(today) >= 200
        week += today
    assert len(set(week)) > 1_400 * 0.9
    assert today == drawn(1_400), "the same all day"


def test_the_day_is_todays_unless_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HYPOTHESIS_DAY", raising=False)
    assert 1 <= day() <= 7
    monkeypatch.setenv("HYPOTHESIS_DAY", "3")
    assert day() == 3
