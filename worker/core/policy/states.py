"""The life of a run and of a batch: one table of legal transitions each (design section 6).

The database's CHECK constraints name the same states; UPDATE statements name the states that
they leave, so that a late message finds nothing to change.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal, TypeVar, get_args

RunState = Literal[
    "planning",
    "running",
    "paused",
    "finishing",
    "completed",
    "completed_with_failures",
    "cancelled",
    "failed",
]
RunKind = Literal["convert", "validate", "publish", "roll_back"]
BatchState = Literal["pending", "running", "done", "failed"]
State = TypeVar("State", bound=str)

RUN_KINDS: Final[tuple[RunKind, ...]] = get_args(RunKind)
RUN_STATES: Final[tuple[RunState, ...]] = get_args(RunState)
BATCH_STATES: Final[tuple[BatchState, ...]] = get_args(BatchState)

RUN_TRANSITIONS: Final[Mapping[tuple[RunState, RunState], str]] = {
    ("planning", "running"): "every bot is in a batch",
    ("planning", "cancelled"): "a person cancelled it before it began",
    ("planning", "failed"): "the fleet could not be split into batches",
    ("running", "paused"): "a person, too many failures or a health check paused it",
    ("running", "finishing"): "the last batch is done",
    ("running", "cancelled"): "a person cancelled it",
    ("paused", "running"): "a person resumed it",
    ("paused", "cancelled"): "a person cancelled it while it was paused",
    ("finishing", "completed"): (
        "every bot was converted, unchanged, published, rolled back or skipped"
    ),
    ("finishing", "completed_with_failures"): "some bots or batches failed",
}

BATCH_TRANSITIONS: Final[Mapping[tuple[BatchState, BatchState], str]] = {
    ("pending", "running"): "a worker claimed it",
    ("running", "running"): "its worker tries again, since a server was unavailable",
    ("running", "pending"): "its worker was lost, stopped, or gave up waiting for a server",
    ("running", "done"): "its one transaction committed, or its one bot kills workers",
    ("running", "failed"): "it was postponed as often as allowed, or stopped on a fault",
    ("pending", "failed"): "it stopped on a fault before a worker could claim it",
}

OVER: Final[frozenset[RunState]] = frozenset(
    {"completed", "completed_with_failures", "cancelled", "failed"}
)


def words(state: str) -> str:
    """A state as a person reads it.

    >>> words("completed_with_failures")
    'completed with failures'
    """
    return state.replace("_", " ")


def states_before(transitions: Mapping[tuple[State, State], str], new: State) -> tuple[State, ...]:
    """The states that an UPDATE to `new` may leave, by a table of legal transitions.

    >>> states_before(RUN_TRANSITIONS, "finishing")
    ('running',)
    """
    return tuple(old for old, to in transitions if to == new)


def final_state(*, bots_failed: int, batches_failed: int) -> RunState:
    """How a run ends whose every batch is done or failed."""
    return "completed_with_failures" if bots_failed or batches_failed else "completed"
