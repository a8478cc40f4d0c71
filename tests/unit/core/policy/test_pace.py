"""Pace: sizes that follow the time batches take, and a rate that is never exceeded for long."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.core.policy.pace import (
    BURST_S,
    FIRST_BOTS,
    GROWTH,
    LEAST_BOTS,
    batch_size,
    first_part,
    rest_s,
    turn,
)

durations = st.lists(
    st.tuples(st.integers(1, 10_000), st.floats(1, 1e6, allow_nan=False)), max_size=30
)


def size(*recent: tuple[int, float], target_ms: int = 1_000, most: int = 10_000) -> int:
    return batch_size(recent, target_ms=target_ms, most=most, max_rate=None)


def test_without_a_target_a_batch_is_as_large_as_planned() -> None:
    assert size(target_ms=0, most=500) == 500
    assert size((100, 9_000.0), target_ms=0, most=500) == 500


@pytest.mark.parametrize(
    ("messages", "first"), [(0, FIRST_BOTS), (1, FIRST_BOTS // 2), (6, 28), (100, LEAST_BOTS)]
)
def test_a_run_begins_small_the_smaller_the_more_messages_each_bot_is_tried_on(
    messages: int, first: int
) -> None:
    chosen = batch_size([], target_ms=1_000, most=500, max_rate=None, messages=messages)
    assert chosen == first
    few = batch_size([], target_ms=1_000, most=5, max_rate=None, messages=messages)
    assert few == 5


def test_a_run_grows_step_by_step() -> None:
    assert size((50, 1.0)) == 50 * GROWTH
    assert size((50, 1.0), (200, 4.0)) == 200 * GROWTH
    assert size((1, 0.1)) == LEAST_BOTS


def test_steady_batches_give_what_the_target_time_holds() -> None:
    assert size(*[(500, 250.0)] * 20) == 2_000 <= 500 * GROWTH
    assert size(*[(500, 5_000.0)] * 20) == 100


def test_the_last_batch_counts_most_and_an_old_one_hardly() -> None:
    slowing = [(500, 250.0)] * 3 + [(500, 2_500.0)] * 3
    speeding = slowing[::-1]

    assert 200 < size(*slowing) < size(*speeding) < 2_000
    assert size((500, 250.0), *[(500, 2_500.0)] * 30) == 200


@given(durations, st.integers(1, 60_000), st.integers(1, 10_000))
def test_a_size_is_bounded(recent: list[tuple[int, float]], target_ms: int, most: int) -> None:
    chosen = batch_size(recent, target_ms=target_ms, most=most, max_rate=None)

    assert min(LEAST_BOTS, most) <= chosen <= most


def test_a_limited_run_takes_no_more_at_once_than_passes_in_the_target_time() -> None:
    assert batch_size([], target_ms=1_000, most=500, max_rate=40.0) == 40
    assert batch_size([], target_ms=1_000, most=500, max_rate=0.1) == 1


@given(st.integers(1, 10_000), st.integers(1, 10_000))
def test_parts_are_never_empty_nor_much_larger_than_wanted(bots: int, wanted: int) -> None:
    first = first_part(bots, wanted)

    assert 1 <= first <= bots
    assert first <= wanted * 1.25


@given(st.integers(1, 10_000), st.integers(1, 2_000))
def test_cutting_a_batch_again_and_again_leaves_no_sliver(bots: int, wanted: int) -> None:
    parts = []
    while bots:
        parts.append(first_part(bots, wanted))
        bots -= parts[-1]

    assert len(parts) == 1 or min(parts) >= wanted * 0.5


@given(
    st.lists(st.tuples(st.floats(0, 3), st.integers(1, 50)), min_size=1, max_size=40),
    st.sampled_from([0.5, 10.0, 100.0]),
)
def test_no_more_bots_begin_than_the_rate_allows(
    arrivals: list[tuple[float, int]], rate: float
) -> None:
    now, not_before, begun = 1_000.0, None, []
    for pause, bots in arrivals:
        now += pause
        answer = turn(now, not_before, bots, rate)
        if answer.wait_s > 0:
            now += answer.wait_s
            answer = turn(now + 1e-6, not_before, bots, rate)
        assert answer.wait_s == 0
        not_before = answer.next_s
        begun.append((now, bots))

    # Between two beginnings: the bots of all but the last have had their time, less the burst.
    for start in range(len(begun)):
        bots = sum(count for _, count in begun[start:-1])
        assert begun[-1][0] - begun[start][0] >= bots / rate - BURST_S - 1e-3


def test_a_batch_that_comes_too_early_changes_nothing() -> None:
    assert turn(100.0, 105.0, 50, 10.0).next_s == 105.0


@pytest.mark.parametrize(("ratio", "rest"), [(0.0, 0.0), (0.5, 0.2), (2.0, 0.8)])
def test_a_rest_is_a_multiple_of_the_batch(ratio: float, rest: float) -> None:
    assert rest_s(400, ratio) == pytest.approx(rest)
