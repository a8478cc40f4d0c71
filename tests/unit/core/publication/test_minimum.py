"""The sample that a wave needs, derived from the test itself."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.strategies import examples
from worker.core.publication.minimum import CAP, cap, missing, passes, seconds_until


@pytest.mark.parametrize(("p1", "least"), [(0.10, 34), (0.05, 70), (0.02, 178)])
def test_the_least_sample_is_that_of_the_contract(p1: float, least: int) -> None:
    assert missing(0, 0, p1) == least
    assert not passes(0, least - 1, p1)
    assert passes(0, least, p1)


@examples(200)
@given(st.integers(0, 8), st.integers(0, 400), st.sampled_from([0.02, 0.05, 0.1, 0.5]))
def test_as_many_as_are_missing_make_it_pass_and_not_one_fewer(
    failed: int, clean: int, p1: float
) -> None:
    more = missing(failed, failed + clean, p1)

    assert passes(failed, failed + clean + more, p1)
    if more:
        assert not passes(failed, failed + clean + more - 1, p1)


def test_a_failure_asks_for_more() -> None:
    assert missing(0, 0, 0.05) < missing(1, 1, 0.05) < missing(2, 2, 0.05)


@pytest.mark.parametrize("p1", [0.02, 0.05, 0.1, 0.9])
@pytest.mark.parametrize("bots", [0, 1, 2, 5, 20, 10_000])
def test_what_counts_of_its_bots_is_enough_for_a_wave_to_pass(bots: int, p1: float) -> None:
    assert cap(bots, p1) >= CAP
    assert passes(0, cap(bots, p1) * max(1, bots), p1)


def test_without_traffic_there_is_no_time_to_name() -> None:
    assert seconds_until(7, 0, 3_600) is None
    assert seconds_until(7, 7, 3_600) == 3_600
