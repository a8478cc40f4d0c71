"""Retention: ages, the hour of a prune, and sizes that follow the clock."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.core.policy import prune as rules


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1s", 1),
        ("90m", 5_400),
        ("36H", 129_600),
        (" 30d ", 2_592_000),
        ("30 d", 2_592_000),
        ("36500d", rules.MAX_AGE_S),
    ],
)
def test_an_age_is_a_number_and_a_unit(text: str, seconds: int) -> None:
    assert rules.parse_age(text) == seconds


@pytest.mark.parametrize(
    "text", ["", "30", "d", "0d", "-1d", "1.5d", "30 days", "1y", "36501d", "٣d", "9" * 11 + "s"]
)
def test_what_is_no_age_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ValueError, match="such as 30d"):
        rules.parse_age(text)


@given(st.integers(0, 2**33), st.integers(0, 23), st.integers(0, 59))
def test_a_slot_is_the_last_such_time_and_less_than_a_day_ago(
    now_s: int, hour: int, minute: int
) -> None:
    slot_s = rules.slot_at(now_s, f"{hour:02}:{minute:02}")
    assert slot_s is not None
    assert 0 <= now_s - slot_s < rules.DAY_S
    assert slot_s % rules.DAY_S == hour * 3_600 + minute * 60


def test_a_slot_begins_at_its_very_second_and_never_has_none() -> None:
    at = 20_000 * rules.DAY_S + 3 * 3_600 + 30 * 60
    assert rules.slot_at(at, "03:30") == at
    assert rules.slot_at(at - 1, "03:30") == at - rules.DAY_S
    assert rules.slot_at(at, "never") is None


def test_a_prune_may_begin_within_an_hour_of_its_time() -> None:
    assert rules.may_begin(7_200 + 3_599, 7_200)
    assert not rules.may_begin(7_200 + 3_600, 7_200)


@given(st.integers(1, rules.MAX_SIZE), st.floats(0, 1e6))
def test_a_size_moves_by_two_at_most_and_stays_in_its_bounds(size: int, took_ms: float) -> None:
    after = rules.size_after(size, took_ms)
    assert 1 <= after <= rules.MAX_SIZE
    assert size // 2 <= after <= size * 2
    assert (after <= size) or took_ms < rules.TARGET_MS


def test_sizes_settle_where_a_batch_takes_what_it_should() -> None:
    size, ms_a_row = rules.FIRST_SIZE, 0.05
    for _ in range(10):
        size = rules.size_after(size, size * ms_a_row)
    assert size == pytest.approx(rules.TARGET_MS / ms_a_row, rel=0.01)


@given(st.integers(1, rules.MAX_SIZE))
def test_time_outs_shrink_to_one_row_and_no_further(size: int) -> None:
    seen = [size]
    while seen[-1] > 1:
        seen.append(rules.size_after_timeout(seen[-1]))
    assert seen == sorted(set(seen), reverse=True)
    assert rules.size_after_timeout(1) == 1


def test_a_statement_may_take_less_than_half_a_second_with_room_for_its_commit() -> None:
    assert rules.TARGET_MS * 2 <= rules.LIMIT_MS <= 450
    assert rules.LOCK_MS < rules.LIMIT_MS
