"""How a batch is named, in every call and every message."""

from __future__ import annotations

import msgspec


class BatchRef(msgspec.Struct, frozen=True, order=True):
    """A batch: the run that it is of, and its number in that run, counted from 1.

    >>> str(BatchRef(12, 7))
    'batch 7 of run 12'
    """

    run_id: int
    number: int

    def __str__(self) -> str:
        return f"batch {self.number} of run {self.run_id}"
