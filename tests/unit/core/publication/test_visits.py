"""How many visitors should come: by the same hours, so that a quiet night is no silence."""

from __future__ import annotations

import math
import random

import pytest

from worker.core.publication.quarantine import SILENT_FROM
from worker.core.publication.visits import DAY_H, HOUR_S, expected_by

NIGHT = [0.02] * 8 + [60.0] * 14 + [0.02] * 2
"""Visitors in each hour of the day, on average: hardly any from 22 to 8 o'clock."""


def came(rng: random.Random, mean: float) -> int:
    """A number of independent visitors (Poisson, by Knuth; in parts, since exp underflows)."""
    total, product, limit = 0, rng.random(), math.exp(-mean)
    while product > limit:
        product *= rng.random()
        total += 1
    return total


def a_day(rng: random.Random, begins: int) -> list[int]:
    return [came(rng, NIGHT[(begins + place) % DAY_H]) for place in range(DAY_H)]


@pytest.mark.unmeasured
def test_through_day_and_night_hardly_any_quiet_is_taken_for_silence() -> None:
    """From any hour on, looked at after each: visitors of the day before, and of a healthy day after it."""
    rng, false, days = random.Random(3), 0, 400
    for day in range(days):
        begins = day % DAY_H
        before, after = a_day(rng, begins), a_day(rng, begins)
        looks = range(1, DAY_H + 1)
        false += any(
            expected_by(before, hour * HOUR_S) >= SILENT_FROM and sum(after[:hour]) == 0
            for hour in looks
        )
    assert false <= days / 100


def test_an_average_of_the_day_would_take_each_night_for_silence() -> None:
    average = [round(sum(NIGHT) / DAY_H)] * DAY_H
    assert expected_by(average, 8 * HOUR_S) >= SILENT_FROM
    assert expected_by([0] * 8 + [60] * 14 + [0] * 2, 8 * HOUR_S) == 0


def test_what_should_have_come_grows_with_the_time_and_not_beyond_a_day() -> None:
    seen = [expected_by([10] * DAY_H, hour * HOUR_S) for hour in range(30)]
    assert seen[:25] == sorted(seen[:25])
    assert seen[24:] == [seen[24]] * 6
    assert seen[0] == 0
