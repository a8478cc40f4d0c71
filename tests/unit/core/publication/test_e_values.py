"""E-values: fair bets, whatever the order of executions and the times of looking."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.strategies import examples
from worker.core.publication.e_values import (
    NOTHING_LEFT,
    log_e_above,
    log_e_below,
    log_mean,
    rates_above,
)

RATES = st.floats(0.0001, 0.999)


def expected(e_value: object, claim: float, executions: int, rate: float) -> float:
    """The mean of the E-value where executions fail at `rate`, over every outcome."""
    return math.fsum(
        math.comb(executions, failed)
        * rate**failed
        * (1 - rate) ** (executions - failed)
        * math.exp(e_value(failed, executions, claim))  # type: ignore[operator]
        for failed in range(executions + 1)
    )


@pytest.mark.parametrize("p0", [0.0004, 0.02, 0.05, 0.12, 0.5, 0.93])
@pytest.mark.parametrize("executions", [1, 2, 7, 30])
def test_at_the_normal_rate_the_bet_is_fair_and_below_it_is_a_loss(
    p0: float, executions: int
) -> None:
    assert expected(log_e_above, p0, executions, p0) == pytest.approx(1, rel=1e-9)
    assert expected(log_e_above, p0, executions, p0 / 2) <= 1
    assert expected(log_e_above, p0, executions, min(0.99, 1.5 * p0)) > 1


@pytest.mark.parametrize("p1", [0.02, 0.05, 0.1, 0.6])
@pytest.mark.parametrize("executions", [1, 2, 7, 30])
def test_at_the_rate_to_refute_the_bet_is_fair_and_above_it_is_a_loss(
    p1: float, executions: int
) -> None:
    assert expected(log_e_below, p1, executions, p1) == pytest.approx(1, rel=1e-9)
    assert expected(log_e_below, p1, executions, 1.5 * p1) <= 1
    assert expected(log_e_below, p1, executions, p1 / 2) > 1


@examples(200)
@given(st.integers(0, 60), st.integers(0, 60), RATES)
def test_one_execution_more_is_a_fair_bet_from_wherever_one_stands(
    failed: int, clean: int, rate: float
) -> None:
    for log_e in (log_e_above, log_e_below):
        now = log_e(failed, failed + clean, rate)
        if now == NOTHING_LEFT or now < -200:
            continue
        worse = math.exp(log_e(failed + 1, failed + clean + 1, rate) - now)
        better = math.exp(log_e(failed, failed + clean + 1, rate) - now)
        assert rate * worse + (1 - rate) * better == pytest.approx(1, rel=1e-6)


@examples(200)
@given(st.lists(st.booleans(), max_size=60), st.randoms(use_true_random=False), RATES)
def test_the_order_of_executions_does_not_count(
    outcomes: list[bool], rng: object, p0: float
) -> None:
    """Multiplied up execution by execution, in any order, it is the closed form."""
    rng.shuffle(outcomes)  # type: ignore[attr-defined]
    logs = []
    for rate in rates_above(p0):
        log_e = 0.0
        for failed in outcomes:
            log_e += math.log(rate / p0 if failed else (1 - rate) / (1 - p0))
        logs.append(log_e)

    assert log_e_above(sum(outcomes), len(outcomes), p0) == pytest.approx(log_mean(logs), abs=1e-9)


@examples(200)
@given(st.integers(0, 200), RATES)
def test_each_failure_more_speaks_more_against_a_wave_and_less_for_it(
    executions: int, rate: float
) -> None:
    above = [log_e_above(failed, executions, rate) for failed in range(executions + 1)]
    below = [log_e_below(failed, executions, rate) for failed in range(executions + 1)]

    assert all(few < more for few, more in pairwise(above))
    assert all(few > more for few, more in pairwise(below))


@examples(200)
@given(st.integers(0, 500), st.integers(0, 500), RATES)
def test_each_clean_execution_more_speaks_for_a_wave(failed: int, clean: int, rate: float) -> None:
    fewer, more = failed + clean, failed + clean + 1

    assert log_e_above(failed, more, rate) <= log_e_above(failed, fewer, rate)
    assert log_e_below(failed, more, rate) >= log_e_below(failed, fewer, rate)


def test_a_billion_executions_overflow_nothing() -> None:
    assert math.isfinite(log_e_above(10**9, 10**9, 1e-9))
    assert math.isfinite(log_e_above(0, 10**9, 0.999))
    assert log_e_below(10**9, 10**9, 0.05) < -(10**8)


@pytest.mark.parametrize("rate", [0.0, 1.0, -0.1, 1.1, math.nan])
def test_a_rate_that_is_none_is_refused(rate: float) -> None:
    for log_e in (log_e_above, log_e_below):
        with pytest.raises(ValueError, match="above 0 and below 1"):
            log_e(0, 1, rate)


@pytest.mark.parametrize(("failed", "executions"), [(2, 1), (-1, 1), (0, -1)])
def test_counts_that_cannot_be_are_refused(failed: int, executions: int) -> None:
    with pytest.raises(ValueError, match="cannot have failed"):
        log_e_above(failed, executions, 0.02)


def test_bets_are_on_the_rates_of_the_contract() -> None:
    assert rates_above(0.02) == (0.04, 0.08, 0.16, 0.5, 0.9)
    assert rates_above(0.25) == (0.5, 0.9)
    assert rates_above(0.6) == (0.9,)


def test_the_mean_of_lost_bets_is_lost() -> None:
    assert log_mean([NOTHING_LEFT, NOTHING_LEFT]) == NOTHING_LEFT
    assert log_mean([NOTHING_LEFT, 0.0]) == pytest.approx(math.log(0.5))
