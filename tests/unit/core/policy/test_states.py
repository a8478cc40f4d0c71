"""The life of a run and of a batch: what the tables permit, and everything that they refuse."""

from __future__ import annotations

from typing import get_args

import pytest

from worker.core.policy.states import (
    BATCH_STATES,
    BATCH_TRANSITIONS,
    OVER,
    RUN_STATES,
    RUN_TRANSITIONS,
    BatchState,
    RunState,
    final_state,
    states_before,
)

RUNS_MAY = {
    "planning": {"running", "cancelled", "failed"},
    "running": {"paused", "finishing", "cancelled"},
    "paused": {"running", "cancelled"},
    "finishing": {"completed", "completed_with_failures"},
    "completed": set(),
    "completed_with_failures": set(),
    "cancelled": set(),
    "failed": set(),
}
BATCHES_MAY = {
    "pending": {"running", "failed"},
    "running": {"running", "pending", "done", "failed"},
    "done": set(),
    "failed": set(),
}


def test_the_states_are_those_of_the_design() -> None:
    assert set(RUN_STATES) == set(RUNS_MAY)
    assert set(BATCH_STATES) == set(BATCHES_MAY)
    assert get_args(RunState) == RUN_STATES
    assert get_args(BatchState) == BATCH_STATES


@pytest.mark.parametrize("new", RUN_STATES)
@pytest.mark.parametrize("old", RUN_STATES)
def test_a_run_goes_where_the_table_says_and_nowhere_else(old: RunState, new: RunState) -> None:
    assert ((old, new) in RUN_TRANSITIONS) is (new in RUNS_MAY[old])


@pytest.mark.parametrize("new", BATCH_STATES)
@pytest.mark.parametrize("old", BATCH_STATES)
def test_a_batch_goes_where_the_table_says_and_nowhere_else(
    old: BatchState, new: BatchState
) -> None:
    assert ((old, new) in BATCH_TRANSITIONS) is (new in BATCHES_MAY[old])


@pytest.mark.parametrize("new", RUN_STATES)
def test_an_update_leaves_exactly_the_states_before(new: RunState) -> None:
    assert set(states_before(RUN_TRANSITIONS, new)) == {
        old for old, may in RUNS_MAY.items() if new in may
    }


def test_a_cancellation_may_come_until_the_run_finishes() -> None:
    assert states_before(RUN_TRANSITIONS, "cancelled") == ("planning", "running", "paused")
    assert states_before(RUN_TRANSITIONS, "planning") == ()


def test_a_run_is_over_where_no_arrow_leads_out() -> None:
    assert {state for state in RUN_STATES if not RUNS_MAY[state]} == OVER


@pytest.mark.parametrize("reason", [*RUN_TRANSITIONS.values(), *BATCH_TRANSITIONS.values()])
def test_every_arrow_has_its_reason(reason: str) -> None:
    assert reason.strip()


@pytest.mark.parametrize(
    ("bots_failed", "batches_failed", "state"),
    [
        (0, 0, "completed"),
        (1, 0, "completed_with_failures"),
        (0, 1, "completed_with_failures"),
        (7, 2, "completed_with_failures"),
    ],
)
def test_a_run_that_left_failures_behind_says_so(
    bots_failed: int, batches_failed: int, state: RunState
) -> None:
    assert final_state(bots_failed=bots_failed, batches_failed=batches_failed) == state
