"""The page of states, from the tables of legal transitions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from reference.page import page, table
from worker.core.policy import states
from worker.core.publication import states as publication


def states_page() -> str:
    """The states of runs, batches and publications, from the tables of legal transitions."""
    over = [f"`{state}`" for state in states.RUN_STATES if state in states.OVER]
    ended = [f"`{state}`" for state in publication.PUBLICATION_STATES if state in publication.OVER]
    return page(
        "States",
        "worker/core/policy/states.py, worker/core/publication/states.py",
        "A run is one requested conversion of a fleet; a batch is a slice of it, one "
        "Celery task. Both change state only along the arrows below: the code names the states that "
        "an UPDATE leaves, and CHECK constraints hold the words in the database.",
        "## Runs",
        _diagram(states.RUN_TRANSITIONS, states.RUN_STATES),
        f"Over, so that nothing changes any more: {', '.join(over)}.",
        _transitions(states.RUN_TRANSITIONS),
        "## Batches",
        _diagram(states.BATCH_TRANSITIONS, states.BATCH_STATES),
        _transitions(states.BATCH_TRANSITIONS),
        "## Publications",
        "A publication takes a set of bots to their drafts, wave by wave. One that waits is `held`, "
        f"for one of these reasons: {', '.join(f'`{why}`' for why in publication.HELD_BECAUSE)}.",
        _diagram(publication.PUBLICATION_TRANSITIONS, publication.PUBLICATION_STATES),
        f"Over, though a person may still roll back what is out: {', '.join(ended)}.",
        _transitions(publication.PUBLICATION_TRANSITIONS),
        "## Waves of a publication",
        _diagram(publication.WAVE_TRANSITIONS, publication.WAVE_STATES),
        _transitions(publication.WAVE_TRANSITIONS),
        "## Bots of a publication",
        _diagram(publication.BOT_TRANSITIONS, publication.BOT_STATES),
        _transitions(publication.BOT_TRANSITIONS),
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
