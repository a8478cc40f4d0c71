"""Alert rules over time: what holds for any looks, at any times, with any of them left out."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.strategies import examples
from worker.core.alerts.rules import Reading, Rule, Standing, judge, read_rule, transition
from worker.core.metrics.model import Sample

GAP_S = 60.0

looks = st.lists(
    st.tuples(st.floats(-5, 100), st.sampled_from([True, False, None])), min_size=1, max_size=40
)
durations = st.sampled_from([0.0, 10.0, 45.0, 300.0])


def walk(
    steps: Sequence[tuple[float, bool | None]], for_s: float
) -> list[tuple[float, bool | None, Standing]]:
    """Each look: when, what was seen, and the state after it. Steps back in time are among them."""
    at, standing = 1_000.0, None
    walked: list[tuple[float, bool | None, Standing]] = []
    for step_s, holds in steps:
        at += step_s
        standing = judge(standing, holds, at, for_s=for_s, gap_s=GAP_S)
        walked.append((at, holds, standing))
    return walked


def moves(walked: Sequence[tuple[float, bool | None, Standing]]) -> list[tuple[float, str]]:
    return [(walked[at][0], str(moved(walked, at))) for at in indices(walked)]


def indices(walked: Sequence[tuple[float, bool | None, Standing]]) -> list[int]:
    """Which looks changed what people are told."""
    return [at for at in range(len(walked)) if moved(walked, at)]


def moved(walked: Sequence[tuple[float, bool | None, Standing]], at: int) -> str | None:
    return transition(walked[at - 1][2] if at else None, walked[at][2])


@given(looks, durations)
@examples(100)
def test_firing_and_resolved_take_turns_and_never_within_the_duration(
    steps: list[tuple[float, bool | None]], for_s: float
) -> None:
    found = moves(walk(steps, for_s))

    assert [word for _, word in found] == [
        "firing" if at % 2 == 0 else "resolved" for at in range(len(found))
    ]
    assert all(later - earlier >= for_s for (earlier, _), (later, _) in pairwise(found))


@given(looks, durations)
@examples(100)
def test_time_goes_forward(steps: list[tuple[float, bool | None]], for_s: float) -> None:
    walked = walk(steps, for_s)

    judged = [standing.judged_s for _, _, standing in walked]
    assert judged == sorted(judged)
    assert all(standing.since_s <= standing.judged_s for _, _, standing in walked)


@given(looks, durations)
@examples(100)
def test_what_fires_was_seen_to_hold_without_a_break_for_the_duration(
    steps: list[tuple[float, bool | None]], for_s: float
) -> None:
    walked = walk(steps, for_s)
    for number, (at, word) in enumerate(moves(walked)):
        wanted = word == "firing"
        end = indices(walked)[number]
        seen, until = list[float](), None
        for look, holds, standing in reversed(walked[: end + 1]):
            if standing.judged_s != look:
                continue  # an older look than the one before: it counted for nothing
            if holds is not wanted or (until is not None and until - look > GAP_S):
                break
            seen.append(look)
            until = look
        assert seen
        assert at - seen[-1] >= for_s


@given(looks, durations)
@examples(100)
def test_what_cannot_be_read_fires_and_resolves_nothing(
    steps: list[tuple[float, bool | None]], for_s: float
) -> None:
    before = None
    for _, holds, after in walk(steps, for_s):
        if holds is None:
            assert transition(before, after) is None
        before = after


def a_rule(**changes: object) -> Rule:
    given_: dict[str, object] = {
        "name": "r",
        "metric": "m",
        "shown_as": "m",
        "condition": "gt",
        "threshold": 5.0,
        **changes,
    }
    return Rule(**given_)  # type: ignore[arg-type]


SERIES = [Sample("m", 3.0, ("a",)), Sample("m", 9.0, ("b",)), Sample("n", 99.0, ("a",))]


@pytest.mark.parametrize(
    ("rule", "reading"),
    [
        (a_rule(), Reading(True, 9.0, "label b")),
        (a_rule(condition="lt"), Reading(True, 3.0, "label a")),
        (a_rule(threshold=9.0), Reading(False, 9.0, "label b")),
        (a_rule(labels={"label": "a"}), Reading(False, 3.0, "label a")),
        (a_rule(but={"label": "b"}), Reading(False, 3.0, "label a")),
        (a_rule(labels={"label": "c"}), Reading(None, None)),
        (a_rule(condition="absent"), Reading(False, 9.0, "label b")),
        (a_rule(condition="absent", labels={"label": "c"}), Reading(True, None)),
    ],
)
def test_of_several_series_the_worst_counts(rule: Rule, reading: Reading) -> None:
    assert read_rule(rule, SERIES, ("label",), is_whole=True) == reading


def test_what_is_missing_from_half_a_reading_is_not_absent() -> None:
    rule = a_rule(condition="absent", labels={"label": "c"})

    assert read_rule(rule, SERIES, ("label",), is_whole=False) == Reading(None, None)
