"""Folding a thousand waves: every wave in one span, those that matter with a line of their own."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tests.strategies import examples
from worker.core.publication.folding import MOST_WAVES, Span, fold
from worker.core.publication.states import WAVE_STATES, WaveState


def shown(states: list[WaveState]) -> set[int]:
    return {one.first for one in fold(states) if not one.is_folded}


@examples(200)
@given(st.lists(st.sampled_from(WAVE_STATES), max_size=300))
def test_every_wave_is_in_one_span_in_its_order_and_there_are_few(states: list[WaveState]) -> None:
    spans = fold(states)
    places = [n for one in spans for n in range(one.first, one.last + 1)]
    assert places == list(range(len(states)))
    assert len(spans) <= 2 * MOST_WAVES + 1


def test_of_a_thousand_that_were_rolled_back_the_last_are_shown() -> None:
    assert len(fold(["rolled_back", "passed"] * 500)) < 30


def test_up_to_twenty_waves_each_has_a_line() -> None:
    assert fold(["passed"] * 20) == [Span(n, n) for n in range(20)]
    assert len(fold(["passed"] * 21)) < 21


def test_of_a_thousand_the_one_that_is_watched_failed_or_was_rolled_back_is_shown() -> None:
    states: list[WaveState] = ["passed"] * 1_000
    states[400] = "rolled_back"
    states[700] = "watching"
    states[701:] = ["pending"] * 299
    assert {0, 400, 697, 698, 699, 700, 701, 702, 703, 999} == shown(states)
    assert fold(states)[1] == Span(1, 399)


def test_while_none_has_begun_the_first_are_shown_and_at_the_end_the_last() -> None:
    assert shown(["pending"] * 100) == {0, 1, 2, 3, 99}
    assert shown(["passed"] * 100) == {0, 96, 97, 98, 99}
