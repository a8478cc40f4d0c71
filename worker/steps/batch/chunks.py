"""What is locked and written at a time of what was decided about a batch's bots."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from worker.core.bounded import bounded
from worker.db.runs import RunOptions
from worker.steps.batch.decide import Decided, Ready

CHUNK_ROWS: Final = 500
"""Drafts and executions written at a time."""

CHUNK_BYTES: Final = 16 * 1024 * 1024
"""Bytes of drafts and executions written at a time."""


def chunks(decided: Sequence[Decided], options: RunOptions) -> Iterator[list[Decided]]:
    """What is written at a time, in order: bounded by bytes, and by rows of drafts and executions."""
    rows = 1 + (0 if options.trials is None else options.trials.per_bot)
    most = max(1, CHUNK_ROWS // rows)
    return bounded(decided, lambda one: one.size, most=most, most_size=CHUNK_BYTES)


def ready_of(some: Iterable[Decided]) -> list[Ready]:
    """The bots with drafts among what was decided."""
    return [one.what for one in some if isinstance(one.what, Ready)]
