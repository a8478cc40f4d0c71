"""Single bots: which are sick, with few healthy ones among them however many there are."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.strategies import examples
from worker.core.publication.baseline import Count
from worker.core.publication.evidence import BotMetric, BotReading
from worker.core.publication.quarantine import is_suspect, log_e_of, log_e_silent, rejected

SHARE = 0.05


def a_bot(failed: int, executions: int, *, bot_id: str = "b", expected: float = 0.0) -> BotReading:
    metric = BotMetric("failed", Count(failed, executions), 0.02)
    return BotReading(bot_id=bot_id, metrics=(metric,), expected=expected, seen=executions)


@pytest.mark.parametrize(
    ("logs", "bots", "expected"),
    [
        ([], 10, 0),
        ([math.log(200) + 1e-9], 10, 1),  # 10 / 0.05
        ([math.log(200) - 1e-9], 10, 0),
        ([math.log(100) + 1e-9] * 2, 10, 2),
        ([math.log(150), math.log(90)], 10, 0),
        ([math.log(210), math.log(90)], 10, 1),
        ([math.log(70)] * 3, 10, 3),  # only all three together
        ([700.0] * 4, 1, 4),
    ],
)
def test_the_k_worst_are_rejected_if_each_reaches_n_over_k(
    logs: list[float], bots: int, expected: int
) -> None:
    suspects = [(f"b{n}", log_e) for n, log_e in enumerate(logs)]

    assert len(rejected(suspects, bots, SHARE)) == expected


@examples(200)
@given(st.lists(st.floats(0, 30), max_size=12), st.integers(1, 5_000))
def test_the_rejected_are_the_largest_set_that_holds(logs: list[float], bots: int) -> None:
    bots = max(bots, len(logs))
    suspects = [(f"b{n:02}", log_e) for n, log_e in enumerate(logs)]
    worst = sorted(logs, reverse=True)
    holds = [k for k in range(1, len(logs) + 1) if worst[k - 1] >= math.log(bots / (SHARE * k))]

    found = rejected(suspects, bots, SHARE)

    assert len(found) == max(holds, default=0)
    assert rejected(suspects[::-1], bots, SHARE) == found
    assert all(dict(suspects)[bot_id] >= math.log(bots / (SHARE * len(found))) for bot_id in found)


def test_a_bot_that_is_no_suspect_is_never_rejected() -> None:
    below = math.log(1 / SHARE) - 1e-9

    assert rejected([(f"b{n}", below) for n in range(100)], 100, SHARE) == ()
    assert not is_suspect(a_bot(1, 10), SHARE)
    assert is_suspect(a_bot(4, 10), SHARE)


def test_a_bot_is_silent_from_seven_expected_executions_on() -> None:
    assert log_e_of(BotReading(bot_id="b", expected=7.0)) == 7.0
    assert log_e_of(BotReading(bot_id="b", expected=6.9)) == -math.inf
    assert log_e_of(BotReading(bot_id="b", expected=700.0, seen=1)) == -math.inf
    assert log_e_silent(7.0, 0) > math.log(20)


def test_silence_and_failures_share_what_a_bot_may_bet() -> None:
    assert log_e_of(a_bot(0, 0, expected=8.0)) == pytest.approx(math.log((1 + math.exp(8)) / 2))


def test_of_two_thousand_bots_the_three_sick_ones_are_found_and_few_others() -> None:
    rng = random.Random(7)
    sick, healthy_found = {"b3", "b700", "b1999"}, 0
    for _ in range(20):
        bots = []
        for n in range(2_000):
            rate = 0.6 if f"b{n}" in sick else 0.02
            executions = 25
            failed = sum(rng.random() < rate for _ in range(executions))
            if failed:
                bots.append(a_bot(failed, executions, bot_id=f"b{n}"))
        suspects = [(bot.bot_id, log_e_of(bot)) for bot in bots]
        found = set(rejected(suspects, 2_000, SHARE))
        assert sick <= found
        healthy_found += len(found - sick)
    assert healthy_found <= 0.05 * 20 * 3
