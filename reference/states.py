"""The page of states, from the tables of legal transitions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from reference.page import page, table
from worker.core.policy import states


def states_page() -> str:
    """The states of runs and batches, from the tables of legal transitions."""
    over = [f"`{state}`" for state in states.RUN_STATES if state in states.OVER]
    return page(
        "States",
        "worker/core/policy/states.py",
        "A run is one conversion of a fleet that somebody asked for; a batch is a slice of it, one "
        "Celery task. Both change state only along the arrows below: the code names the states that "
        "an UPDATE leaves, and CHECK constraints hold the words in the database.",
        "## Runs",
        _diagram(states.RUN_TRANSITIONS, states.RUN_STATES),
        f"Over, so that nothing changes any more: {', '.join(over)}.",
        _transitions(states.RUN_TRANSITIONS),
        "## Batches",
        _diagram(states.BATCH_TRANSITIONS, states.BATCH_STATES),
        _transitions(states.BATCH_TRANSITIONS),
    )


def _transitions(transitions: Mapping[Any, str]) -> str:
    rows = [(f"`{old}`", f"`{new}`", reason) for (old, new), reason in transitions.items()]
    return table(("from", "to", "because"), rows)


def _diagram(transitions: Mapping[Any, str], names: Sequence[str]) -> str:
    left, entered = ({pair[end] for pair in transitions} for end in (0, 1))
    lines = ["```mermaid", "stateDiagram-v2", f"    [*] --> {names[0]}"]
    lines += [f"    {old} --> {new}" for old, new in transitions]
    lines += [f"    {name} --> [*]" for name in names if name in entered and name not in left]
    return "\n".join([*lines, "```"])
