"""What a batch came to: gathered while it is done, written down with its end."""

from __future__ import annotations

import time
from collections.abc import Sequence

import msgspec
import sqlalchemy as sa

from worker.core.codes import Outcome
from worker.core.overhead import measure
from worker.core.progress import Counts, count
from worker.db import batches
from worker.db.batches import Batch
from worker.db.bots import LedgerRow
from worker.errors import StaleError


class Report(msgspec.Struct, frozen=True):
    """What a batch came to."""

    counts: Counts
    codes: dict[str, int]
    duration_ms: int
    commit_ms: float = 0.0
    attempt: int = 0


class Tally:
    """The outcomes of a batch's bots, as they come."""

    def __init__(self) -> None:
        self._outcomes: list[tuple[Outcome, str | None, int, bool]] = []
        self._overheads: list[tuple[str, int]] = []

    def add(self, rows: Sequence[LedgerRow]) -> None:
        """Count rows that have gone into the ledger."""
        for row in rows:
            self._outcomes.append((row.outcome, row.code, len(row.warnings), row.agreed))
            if row.overhead_us is not None:
                self._overheads.append((row.bot_id, row.overhead_us))

    def complete(self, connection: sa.Connection, batch: Batch, started: float) -> Report:
        """Take the batch to `done` with its counts, in the transaction that they count.

        `started` is the reading of `time.monotonic` when the batch began.

        Raises:
            StaleError: the batch was taken from us meanwhile; nothing of this may be committed.
        """
        counts, codes = count(self._outcomes)
        duration_ms = round((time.monotonic() - started) * 1000)
        ended = batches.complete(
            connection,
            batch.run_id,
            batch.number,
            attempt=batch.attempt,
            counts=counts,
            codes=codes,
            overhead=measure(self._overheads),
            duration_ms=duration_ms,
        )
        if not ended:
            raise StaleError(f"batch {batch.number} of run {batch.run_id} went to another worker")
        return Report(counts, codes, duration_ms)
