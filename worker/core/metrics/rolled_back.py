"""What a rollback without a run, in the foreground or by the gate, adds to the totals of metrics."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Final

from worker.core.metrics.model import Sample

_OUTCOMES: Final[Mapping[str, tuple[str, str]]] = {
    "rolled_back": ("rolled_back", ""),
    "superseded": ("skipped", "newer_version"),
    "no_way_back": ("skipped", "no_way_back"),
}


def rolled_back(states: Iterable[str]) -> list[Sample]:
    """The bots by outcome and code, as batches of the kind `roll_back` count them; locked ones do not.

    >>> [(one.value, one.labels) for one in rolled_back(["rolled_back", "busy", "rolled_back"])]
    [(2.0, ('roll_back', 'rolled_back', ''))]
    """
    found = Counter(_OUTCOMES[state] for state in states if state in _OUTCOMES)
    return [
        Sample("flowshift_bots", float(number), ("roll_back", outcome, code))
        for (outcome, code), number in found.items()
    ]
