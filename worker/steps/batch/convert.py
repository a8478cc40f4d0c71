"""Convert a batch: decide on its bots while nothing is locked, then write what is still right.

    claim ─► read some bots ─► convert and try each ─┐
                   └────────── next ones ◄───────────┤
    lock the batch ─► settle: lock the bots, look again, write ◄┘ ─► counters, the batch's end ─► commit

Everything that the batch did is in that one last transaction: a batch that is delivered again finds it
done, and one whose worker dies has done nothing (design section 6, guarantee 2).
"""

from __future__ import annotations

import time
from collections.abc import Generator, Iterable, Sequence
from contextlib import closing
from typing import Final

import msgspec
import sqlalchemy as sa

from worker.core.parity.trial import Equipment
from worker.core.workflow.config import Defaults
from worker.db import bots, leaving, ledger
from worker.db.batches import Batch
from worker.db.bots import BotRow
from worker.db.runs import ECHO, RunOptions
from worker.errors import LockedError, TransientError, UsageError
from worker.log import get_logger
from worker.runtime import Runtime
from worker.steps.batch.decide import Asked, Decided, decide_each, heard
from worker.steps.batch.kind import Kind
from worker.steps.batch.lifecycle import at_work, ending, log_left
from worker.steps.batch.plans import plans_counted
from worker.steps.batch.settle import Settled, Settler
from worker.steps.batch.tally import Report, Tally
from worker.steps.batch.trial import Trial
from worker.steps.request import Request

log = get_logger(__name__)

KEPT_BYTES: Final = 32 * 1024 * 1024
"""Drafts and executions that are kept until they are written; what is beyond is another batch."""


class _Decider(msgspec.Struct, frozen=True):
    """How a batch's bots are decided on."""

    options: RunOptions
    trial: Trial | None
    defaults: Defaults
    asked: Asked
    equipment: Equipment
    recipe: int

    @property
    def reads_known(self) -> int | None:
        """The recipe by which bots that were converted before are known; None if each is to be converted.

        A trial executes the draft beside the workflow, the platform is asked about it, and known
        differences fail a bot of a strict run whatever became of it before.
        """
        is_all = self.trial is None and self.equipment.platform is None and not self.asked.strict
        return self.recipe if is_all else None

    def decide(self, rows: Iterable[BotRow]) -> Generator[Decided]:
        """What becomes of bots, in their order; the platform's own programs are asked about each draft."""
        word = self.equipment.platform
        decided = self._decide(rows)
        return decided if word is None else heard(decided, word)

    def _decide(self, rows: Iterable[BotRow]) -> Generator[Decided]:
        return decide_each(rows, self.defaults, self.trial, self.asked, self.equipment)

    def redo(self, connection: sa.Connection, bot_ids: Sequence[str]) -> list[Decided]:
        """Decide on bots again, from what is committed now.

        Raises:
            TransientError: the platform would be asked while their rows are locked.
        """
        if self.equipment.platform is not None:
            raise TransientError(f"bot {bot_ids[0]} changed while the platform was asked about it")
        chunks = bots.read_chunks(connection, after=None, through=None, bot_ids=bot_ids)
        return [one for chunk in chunks for one in self._decide(chunk)]


class _Made(msgspec.Struct, frozen=True):
    """What was decided about a batch's bots, through one of them (None: all)."""

    decider: _Decider
    decided: list[Decided]
    through: str | None


def convert_batch(batch: Batch, runtime: Runtime) -> Report:
    """Convert the bots of a claimed batch, and try their drafts.

    Raises:
        StaleError: it went to another worker meanwhile; nothing was written.
        LockedError: every bot is locked by others, or has just changed; nothing was written.
        TransientError: the database was unavailable or busy; nothing was written.
    """
    started = time.monotonic()
    with at_work(runtime, batch):
        decider = _decider_of(batch, runtime)
        with plans_counted(decider.asked.target):
            made = _decide_all(runtime.engine, batch, decider)
        with ending(runtime, batch) as end:
            report = end.counted(_save(end.connection, batch, made, started))
    report = end.timed(report)
    log.info(
        "batch.converted",
        run_id=batch.run_id,
        batch=batch.number,
        attempt=report.attempt,
        **{f"bots_{name}": n for name, n in msgspec.structs.asdict(report.counts).items()},
        duration_ms=report.duration_ms,
    )
    return report


def _check(request: Request) -> None:
    if request.provider != ECHO:
        raise UsageError(
            "a migration asks no model: validate its drafts afterwards, with a provider"
        )


CONVERT: Final = Kind(
    name="convert", run=convert_batch, check=_check, default_trials=lambda _: "sample:1"
)
"""A migration: it writes drafts, and tries each on one message if the request does not say more."""


def _decider_of(batch: Batch, runtime: Runtime) -> _Decider:
    options, equipment = batch.options, runtime.equip(batch.run_id, batch.options)
    trial = Trial.of(batch, options, equipment)
    asked = Asked.of(options, equipment.target)
    recipe = runtime.recipe_of(equipment.target)
    return _Decider(options, trial, runtime.defaults, asked, equipment, recipe)


def _decide_all(engine: sa.Engine, batch: Batch, decider: _Decider) -> _Made:
    """Decide on a batch's bots, in key order, nothing locked.

    Where it would take too much memory to keep the rest, it is not decided on.
    """
    decided: list[Decided] = []
    kept_bytes = 0
    after = batch.after_bot_id
    while True:
        rows = _read(engine, batch, after, decider.reads_known)
        with closing(decider.decide(rows)) as some:
            for one in some:
                decided.append(one)
                kept_bytes += one.size
                if kept_bytes >= KEPT_BYTES:
                    return _Made(decider, decided, one.bot_id)
        if sum(row.workflow_bytes or 0 for row in rows) < bots.CHUNK_BYTES:
            return _Made(decider, decided, None)
        after = rows[-1].bot_id


def _read(engine: sa.Engine, batch: Batch, after: str | None, recipe: int | None) -> list[BotRow]:
    """The next bots of a batch, as many as may be in memory at once."""
    with (
        engine.begin() as connection,
        closing(
            bots.read_chunks(
                connection,
                after=after,
                through=batch.through_bot_id,
                bot_ids=batch.bot_ids,
                recipe=recipe,
            )
        ) as chunks,
    ):
        return next(chunks, [])


def _save(
    connection: sa.Connection,
    batch: Batch,
    made: _Made,
    started: float,
) -> Report:
    how = made.decider
    settler = Settler(connection, how.options, how.trial, how.redo, dry_run=batch.dry_run)
    settled = settler.settle(made.decided)
    if settled.left and not settled.rows:
        raise LockedError(f"every bot of {batch.ref} is locked by others, or has just changed")
    ledger.insert_ledger(connection, batch.run_id, batch.number, settled.rows, how.recipe)
    tally = Tally()
    tally.add(settled.rows)
    numbers = _leave(connection, batch, settled, settled.through or made.through)
    return tally.complete(connection, batch, started, numbers)


def _leave(
    connection: sa.Connection, batch: Batch, settled: Settled, through: str | None
) -> list[int]:
    """Leave what is not settled to batches of its own; their numbers."""
    numbers = leaving.leave(
        connection,
        batch,
        done=[row.bot_id for row in settled.rows],
        left=settled.left,
        through=through,
    )
    if numbers:
        log_left(batch, len(settled.left), numbers)
    return numbers
