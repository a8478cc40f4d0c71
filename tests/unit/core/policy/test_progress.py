"""Arithmetic on committed counts: versions only grow, sums add up, nothing divides by zero."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from tests.builders import some_progress
from tests.strategies import examples
from worker.core.codes import FAILURE_CODES, OUTCOMES, SKIP_CODES, Outcome
from worker.core.policy.progress import Counts, count, eta_of, rate_of, version_of
from worker.core.policy.states import OVER, RUN_STATES, RunState

BATCHES = st.integers(0, 2**31 - 1)
RUN_VERSIONS = st.integers(0, 2**21)

# -- versions ------------------------------------------------------------------------------------


@given(RUN_VERSIONS, BATCHES, st.integers(0, 1_000), st.integers(0, 1_000))
@examples(300)
def test_a_version_grows_with_either_part(
    run_version: int, batches: int, more_changes: int, more_batches: int
) -> None:
    assume(more_changes or more_batches)
    assume(batches + more_batches < 2**31)

    before = version_of(run_version, batches)

    assert version_of(run_version + more_changes, batches + more_batches) > before


@given(RUN_VERSIONS, BATCHES, RUN_VERSIONS, BATCHES)
@examples(300)
def test_versions_compare_by_the_runs_version_first(
    run_version: int, batches: int, other_version: int, other_batches: int
) -> None:
    one, other = (run_version, batches), (other_version, other_batches)

    assert (version_of(*one) < version_of(*other)) is (one < other)


def test_the_largest_version_is_exact_in_a_double() -> None:
    assert version_of(2**21, 2**31 - 1) < 2**53
    assert version_of(3, 5) == 6_442_450_949


# -- rate and time left --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("recent_bots", "elapsed_s", "rate"),
    [
        (0, 0.0, 0.0),
        (7, 0.0, 0.0),
        (7, -1.0, 0.0),
        (0, 10.0, 0.0),
        (50, 0.5, 100.0),
        (300, 29.0, 300 / 29),
        (300, 30.0, 10.0),
        (300, 31.0, 10.0),
        (300, 1e9, 10.0),
    ],
)
def test_the_rate_looks_back_30_seconds_or_to_the_start(
    recent_bots: int, elapsed_s: float, rate: float
) -> None:
    assert rate_of(recent_bots, elapsed_s) == rate


@pytest.mark.parametrize(
    ("bots_left", "rate", "eta"),
    [
        (100, 50.0, 2.0),
        (1, 0.5, 2.0),
        (0, 50.0, 0.0),
        (0, 0.0, 0.0),
        (-3, 0.0, 0.0),
        (1, 0.0, None),
        (1, -1.0, None),
    ],
)
def test_the_time_left_is_unknown_where_nothing_moves(
    bots_left: int, rate: float, eta: float | None
) -> None:
    assert eta_of(bots_left, rate) == eta


# -- counts --------------------------------------------------------------------------------------


def test_no_outcomes_count_as_nothing() -> None:
    assert count([]) == (Counts(), {})
    assert Counts().bots == 0


def test_a_code_counts_under_its_outcome() -> None:
    counts, codes = count(
        [
            ("converted", None, 2, True),
            ("converted", None, 0, False),
            ("unchanged", None, 1, False),
            ("skipped", "already_v2", 0, False),
            ("failed", "cycle", 0, False),
            ("failed", "cycle", 0, False),
            ("failed", "no_nodes", 0, False),
        ]
    )

    assert counts == Counts(converted=2, unchanged=1, skipped=1, failed=3, validated=1, warnings=3)
    assert codes == {"skipped:already_v2": 1, "failed:cycle": 2, "failed:no_nodes": 1}


def test_one_word_that_is_a_skip_and_a_failure_stays_two_things() -> None:
    assert count([("skipped", "odd", 0, False), ("failed", "odd", 0, False)])[1] == {
        "skipped:odd": 1,
        "failed:odd": 1,
    }


CODES = st.none() | st.sampled_from((*SKIP_CODES, *FAILURE_CODES))
Record = tuple[Outcome, str | None, int, bool]
RECORDS = st.lists(st.tuples(st.sampled_from(OUTCOMES), CODES, st.integers(0, 9), st.booleans()))


@given(RECORDS)
@examples(300)
def test_every_outcome_counts_exactly_once(records: list[Record]) -> None:
    counts, codes = count(records)
    outcomes = [outcome for outcome, *_ in records]

    assert counts.bots == len(records)
    assert (counts.converted, counts.unchanged, counts.skipped, counts.failed) == tuple(
        outcomes.count(outcome) for outcome in ("converted", "unchanged", "skipped", "failed")
    )
    assert counts.warnings == sum(warnings for _, _, warnings, _ in records)
    assert counts.validated == sum(agreed for *_, agreed in records)
    assert sum(codes.values()) == sum(code is not None for _, code, *_ in records)


@given(RECORDS, RECORDS)
@examples(100)
def test_batches_counted_apart_add_up(one: list[Record], other: list[Record]) -> None:
    (first, first_codes), (second, second_codes) = count(one), count(other)
    together, codes = count([*one, *other])

    for field in ("converted", "unchanged", "skipped", "failed", "validated", "warnings", "bots"):
        assert getattr(together, field) == getattr(first, field) + getattr(second, field)
    assert codes == {
        name: first_codes.get(name, 0) + second_codes.get(name, 0)
        for name in first_codes.keys() | second_codes.keys()
    }


# -- how far -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "share"),
    [
        ({"bots_total": 2_510}, 0.5),
        ({"bots_total": 1_255}, 1.0),
        ({"bots_total": 1_000}, 1.0),
        ({"counts": Counts(), "bots_total": 10}, 0.0),
        ({"counts": Counts(warnings=9), "bots_total": 10}, 0.0),
        ({"counts": Counts(), "bots_total": 0}, 0.0),
        ({"counts": Counts(), "bots_total": 0, "state": "completed"}, 1.0),
    ],
)
def test_the_share_is_of_the_fleet_and_never_beyond_it(
    changes: dict[str, Any], share: float
) -> None:
    assert some_progress(**changes).share == share


@pytest.mark.parametrize("state", RUN_STATES)
def test_progress_is_over_where_the_run_is(state: RunState) -> None:
    assert some_progress(state=state).is_over is (state in OVER)
