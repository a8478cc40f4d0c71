"""What a batch came to: gathered while it is done, written down with its end."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Final

import msgspec
import sqlalchemy as sa

from worker.core.codes import Outcome
from worker.core.parity.overhead import measure
from worker.core.policy.progress import Counts, count
from worker.core.printable import escape, shorten
from worker.db import batches
from worker.db.batches import Batch
from worker.db.ledger import LedgerRow
from worker.errors import StaleError

EXAMPLES: Final = 2
"""Bots named for each code."""

CODES: Final = 4
"""Codes named at most."""

LONGEST_ID: Final = 60
"""Characters of a bot's id at most."""


class Report(msgspec.Struct, frozen=True):
    """What a batch came to."""

    counts: Counts
    codes: dict[str, int]
    duration_ms: int
    commit_ms: float = 0.0
    attempt: int = 0
    bots: tuple[str, ...] = ()
    """The first and the last of its bots, in key order; one or none if there are no more."""
    failed: dict[str, tuple[str, ...]] = {}
    """By code, the first `EXAMPLES` of the bots that failed with it."""
    of: str = ""
    """What the batch is a part of, beside its run: a wave of a publication."""
    new_batches: tuple[int, ...] = ()
    """The batches that have the bots which it left undone."""

    def in_words(self) -> str:
        """The result of the batch, for a person: of what, what failed, then the rest and which bots."""
        counts = self.counts
        parts = [
            self.of,
            self._failures(),
            *(
                f"{n:,} {name}"
                for name, n in msgspec.structs.asdict(counts).items()
                if n and name not in ("failed", "warnings")
            ),
            f"{_bots(counts.bots)}{': ' if self.bots else ''}{' … '.join(map(_short, self.bots))}",
            f"{self.duration_ms:,} ms",
        ]
        return " · ".join(filter(None, parts))

    def _failures(self) -> str:
        if not self.counts.failed:
            return ""
        failures = [
            f"{code} {self.codes.get(f'failed:{code}', 0):,} "
            f"({', '.join(map(_short, bot_ids))}"
            f"{', …' if self.codes.get(f'failed:{code}', 0) > len(bot_ids) else ''})"
            for code, bot_ids in self.failed.items()
        ]
        more = len(failures) - CODES
        said = ", ".join(failures[:CODES]) + (f" and {more} more codes" if more > 0 else "")
        return f"✘ {self.counts.failed:,} failed: {said}"


def which_bots(batch: Batch) -> str:
    """Which bots a claimed batch holds, for a person: what is left of it after it was cut."""
    count = _bots(batch.bot_count)
    if batch.bot_ids is not None:
        ends = batch.bot_ids[:1] + batch.bot_ids[1:][-1:]
        return f"{count}: {' … '.join(map(_short, ends))}"
    after = f" after {_short(batch.after_bot_id)}" if batch.after_bot_id is not None else ""
    through = f" through {_short(batch.through_bot_id)}" if batch.through_bot_id else ""
    return f"{count}{after}{through}"


def _bots(count: int) -> str:
    return f"{count:,} {'bot' if count == 1 else 'bots'}"


def _short(bot_id: str) -> str:
    return shorten(escape(bot_id), LONGEST_ID)


class Tally:
    """The outcomes of a batch's bots, as they come."""

    def __init__(self) -> None:
        self._outcomes: list[tuple[Outcome, str | None, int, bool]] = []
        self._overheads: list[tuple[str, int]] = []
        self._bot_ids: list[str] = []
        self._failed: dict[str, tuple[str, ...]] = {}

    def add(self, rows: Sequence[LedgerRow]) -> None:
        """Count rows that have gone into the ledger."""
        for row in rows:
            self._outcomes.append((row.outcome, row.code, len(row.warnings), row.agreed))
            self._bot_ids.append(row.bot_id)
            if row.outcome == "failed" and row.code is not None:
                known = self._failed.get(row.code, ())
                self._failed[row.code] = (*known, row.bot_id)[:EXAMPLES]
            if row.overhead_us is not None:
                self._overheads.append((row.bot_id, row.overhead_us))

    def complete(
        self,
        connection: sa.Connection,
        batch: Batch,
        started: float,
        new_batches: Sequence[int] = (),
    ) -> Report:
        """Take the batch to `done` with its counts, in the transaction that they count.

        `started` is the reading of `time.monotonic` when the batch began; `new_batches` have the bots that
        it left.

        Raises:
            StaleError: the batch was taken from us meanwhile; nothing of this may be committed.
        """
        counts, codes = count(self._outcomes)
        duration_ms = round((time.monotonic() - started) * 1000)
        ended = batches.complete(
            connection,
            batch.ref,
            attempt=batch.attempt,
            counts=counts,
            codes=codes,
            overhead=measure(self._overheads),
            duration_ms=duration_ms,
        )
        if not ended:
            raise StaleError(f"{batch.ref} went to another worker")
        ends = (self._bot_ids[0], self._bot_ids[-1]) if len(self._bot_ids) > 1 else self._bot_ids
        return Report(
            counts,
            codes,
            duration_ms,
            attempt=batch.attempt,
            bots=tuple(ends),
            failed=self._failed,
            new_batches=tuple(new_batches),
        )
