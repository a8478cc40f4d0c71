"""The statistics, tried: few false alarms however often one looks, and few executions until a true one.

`make check` simulates the same waves each time; `make nightly` twenty times as many.
"""

from __future__ import annotations

import random

import pytest

from bench import gate
from tests.strategies import at_night

pytestmark = pytest.mark.hypothesis

WAVES = 20_000 if at_night() else 1_000
LOOKS = 1_000
FACTOR = WAVES // 1_000


def test_of_a_thousand_healthy_waves_at_most_ten_alarm_at_any_of_a_thousand_looks() -> None:
    looks = LOOKS if at_night() else 400
    ended = gate.waves(random.Random(1), gate.P0, WAVES, looks)

    assert sum(one.alarm is not None for one in ended) <= 10 * FACTOR


def test_a_wave_that_is_better_than_normal_alarms_less_often_still() -> None:
    ended = gate.waves(random.Random(2), 0.01, WAVES // 5, 300)

    assert sum(one.alarm is not None for one in ended) <= 1 * FACTOR


def test_a_regression_from_2_to_12_percent_is_seen_within_75_executions() -> None:
    ended = gate.waves(random.Random(3), 0.12, WAVES // 2, 1_500)

    assert all(one.alarm is not None for one in ended)
    until = gate.median([one.alarm for one in ended])
    assert until is not None
    assert 30 <= until <= 75


def test_of_waves_at_the_rate_to_refute_at_most_one_in_twenty_ever_passes() -> None:
    ended = gate.waves(random.Random(4), gate.P1, WAVES // 2, 400, p0=0.9)

    assert sum(one.passed is not None for one in ended) <= len(ended) / 20


def test_most_healthy_waves_pass_within_250_executions() -> None:
    ended = gate.waves(random.Random(5), 0.01, WAVES // 5, 250)

    assert sum(one.passed is not None for one in ended) >= 0.85 * len(ended)


def test_the_table_is_the_same_for_the_same_seed(capsys: pytest.CaptureFixture[str]) -> None:
    assert gate.main(["--waves", "20", "--looks", "50", "--bots", "1000"]) == 0
    printed = capsys.readouterr().out

    assert printed.splitlines()[:11] == gate.rows(1, 20, 50)
    assert "1,000 bots into waves: " in printed
