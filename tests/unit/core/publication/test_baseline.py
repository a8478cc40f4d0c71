"""What is normal, and what a wave has to refute."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.strategies import examples
from worker.core.publication.baseline import (
    LEAST_OF_WAVES,
    LEAST_ROWS,
    METRICS,
    Baseline,
    Count,
    baseline,
    refuted_rate,
    wilson_upper,
)


@pytest.mark.parametrize(
    ("failed", "executions", "upper"),
    # By the textbook's formula, from R's binom::binom.wilson.
    [(0, 10, 0.2775), (1, 10, 0.4042), (50, 100, 0.5962), (10, 10, 1.0), (0, 0, 1.0)],
)
def test_the_upper_bound_is_wilsons(failed: int, executions: int, upper: float) -> None:
    assert wilson_upper(Count(failed, executions)) == pytest.approx(upper, abs=5e-4)


def test_v1_counts_first_then_the_accepted_waves_then_the_default() -> None:
    v1, waves = Count(0, 1_000), Count(30, 1_000)

    assert baseline("failed", v1=v1, waves=waves).source == "v1"
    assert baseline("failed", waves=waves) == Baseline(wilson_upper(waves) + 0.01, "waves")
    assert [baseline(metric).p0 for metric in METRICS] == [0.02, 0.05, 0.05]


def test_a_handful_of_executions_of_v1_is_no_baseline() -> None:
    assert baseline("failed", v1=Count(0, LEAST_ROWS - 1)).source == "default"
    assert baseline("failed", v1=Count(0, LEAST_ROWS)).source == "v1"


def test_waves_with_too_few_executions_do_not_make_much_failing_normal() -> None:
    assert baseline("failed", waves=Count(2, 100)) == Baseline(0.02, "default")
    few = Count(0, LEAST_OF_WAVES - 1)
    assert baseline("failed", waves=few).source == "default"
    assert baseline("failed", waves=Count(20, LEAST_OF_WAVES)).p0 < 0.042


COUNTS = st.tuples(st.integers(0, 3_000), st.integers(0, 3_000)).map(
    lambda pair: Count(min(pair), max(pair))
)


@examples(300)
@given(COUNTS, st.floats(0.001, 0.5))
def test_what_is_to_be_refuted_is_above_normal_and_both_are_rates(count: Count, p1: float) -> None:
    normal = baseline("failed", v1=count)

    assert 0 < normal.p0 < refuted_rate(normal.p0, p1) < 1
    assert refuted_rate(normal.p0, p1) >= p1
