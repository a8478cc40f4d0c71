"""Validate a batch: execute the drafts that are there beside V1, then record it all at once.

    claim ─► read a few drafts ─► execute each beside V1 ─┐
                   └────────────── next few ◄─────────────┤
    lock the batch ─► executions, ledger, counters, its end ◄┘ commit

Nothing is locked while drafts are executed: a model may take its time. What was executed is
recorded in one transaction, so that a batch that is delivered again finds it done; a draft that
a person changed meanwhile is not recorded, and its bot skipped.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from itertools import islice
from typing import Final

import msgspec
import sqlalchemy as sa

from worker.core.parity.opinion import Inquiry, Opinion
from worker.core.parity.recording import ExecutionRow
from worker.core.workflow.config import Defaults
from worker.db import drafts, ledger
from worker.db.batches import Batch
from worker.db.interference import is_watched
from worker.db.ledger import LedgerRow
from worker.db.publication.proofs import Agreed
from worker.db.recordings import unrecorded
from worker.db.runs import ECHO
from worker.errors import StaleError, UsageError
from worker.log import get_logger
from worker.runtime import Runtime
from worker.steps.batch.halving import NotKeptError, write_halving
from worker.steps.batch.kind import Kind
from worker.steps.batch.lifecycle import at_work, ending
from worker.steps.batch.opinions import disproved, hear, refused
from worker.steps.batch.proven import note_proofs
from worker.steps.batch.tally import Report, Tally
from worker.steps.batch.trial import Trial, fault, judged, not_recorded, record
from worker.steps.batch.try_draft import Tried, try_draft
from worker.steps.request import Request

log = get_logger(__name__)

AT_A_TIME: Final = 50
"""Drafts read at a time: with every one at its limit, 1 GiB at most."""


def validate_batch(batch: Batch, runtime: Runtime) -> Report:
    """Execute the drafts of a claimed batch's bots beside V1, and record it.

    Raises:
        StaleError: it went to another worker meanwhile, or there is nothing to try it on.
        ConfigError: the run asks models, and none are configured for this process.
        TransientError: the database was unavailable or busy; nothing was recorded.
    """
    started = time.monotonic()
    with at_work(runtime, batch):
        trial = Trial.of(batch, batch.options, runtime.equip(batch.run_id, batch.options))
        if trial is None:
            raise StaleError(f"run {batch.run_id} has no messages to validate on")
        tried = _try_all(runtime.engine, batch, runtime.defaults, trial)
        with ending(runtime, batch) as end:
            report = end.counted(_save(end.connection, batch, trial, tried, started))
    report = end.timed(report)
    log.info(
        "batch.validated",
        run_id=batch.run_id,
        batch=batch.number,
        attempt=report.attempt,
        **{f"bots_{name}": n for name, n in msgspec.structs.asdict(report.counts).items()},
        duration_ms=report.duration_ms,
    )
    return report


def _check(request: Request) -> None:
    writes = request.overwrite_edited or request.include_flagged or request.live_drafts
    if request.dry_run or writes:
        raise UsageError("a validation writes no drafts: there is no dry run of it")
    if request.validate == "none":
        raise UsageError("a validation without messages would do nothing")


def _default_trials(request: Request) -> str:
    """All messages, unless they cost something."""
    return "all" if request.provider == ECHO else "sample:1"


VALIDATE: Final = Kind(
    name="validate",
    run=validate_batch,
    check=_check,
    default_trials=_default_trials,
    mark="validation",
    validates=True,
)
"""A validation: it executes the drafts that are there, and writes none."""


def _try_all(
    engine: sa.Engine, batch: Batch, defaults: Defaults, trial: Trial
) -> list[Tried | LedgerRow]:
    with engine.connect() as connection:
        ids = iter(drafts.bot_ids(connection, batch))
    tried: list[Tried | LedgerRow] = []
    while some := list(islice(ids, AT_A_TIME)):
        with engine.connect() as connection:
            read = list(drafts.read(connection, some))
        some_tried = (try_draft(one, defaults, trial) for one in read)
        word = trial.equipment.platform
        tried += some_tried if word is None else hear(word, some_tried, _asked, _heard)
    return tried


def _asked(one: Tried | LedgerRow) -> Inquiry | None:
    return one.inquiry if isinstance(one, Tried) else None


def _heard(one: Tried | LedgerRow, found: Opinion | None) -> Tried | LedgerRow:
    """What was tried, with the platform's own result; what was executed is recorded anyway."""
    if isinstance(one, LedgerRow):
        return one
    row = one.row
    if found is not None and found.code == "platform_refused":
        row = refused(row.bot_id, found)
    elif found is not None:
        row = judged(LedgerRow(row.bot_id, "unchanged"), disproved(one.trial_result, found))
    return msgspec.structs.replace(one, row=row, inquiry=None)


# -- save ------------------------------------------------------------------------------------------


def _save(
    connection: sa.Connection,
    batch: Batch,
    trial: Trial,
    tried: Sequence[Tried | LedgerRow],
    started: float,
) -> Report:
    rows = [one for one in tried if isinstance(one, LedgerRow)]
    rows += _record(connection, trial, [one for one in tried if isinstance(one, Tried)])
    ledger.insert_ledger(connection, batch.run_id, batch.number, rows)
    tally = Tally()
    tally.add(rows)
    return tally.complete(connection, batch, started)


def _record(connection: sa.Connection, trial: Trial, tried: Sequence[Tried]) -> list[LedgerRow]:
    """Record executions; what the database refuses or does not keep becomes that bot's outcome."""
    watched = is_watched(connection)
    recorded = frozenset[str]()

    def write(some: Sequence[Tried]) -> list[LedgerRow]:
        nonlocal recorded
        versions = {one.row.bot_id: one.version for one in some}
        recorded = record(connection, trial, _executions(some), versions)
        left = [one.row.bot_id for one in some if one.row.bot_id not in recorded]
        now = drafts.versions_of_drafts(connection, left)
        outcomes = [
            one.row
            if one.row.bot_id in recorded or now.get(one.row.bot_id) == one.version
            else _changed(one)
            for one in some
        ]
        executed = [Agreed(one.row.bot_id, one.workflow_hash, one.version) for one in some]
        note_proofs(connection, trial.run_id, outcomes, executed)
        return outcomes

    def verify(some: Sequence[Tried], rows: list[LedgerRow]) -> None:
        doubted = [
            one
            for one, row in zip(some, rows, strict=True)
            if row is one.row and (watched or row.bot_id not in recorded)
        ]
        lost = unrecorded(connection, trial.source, _executions(doubted))
        if lost:
            raise NotKeptError(
                {n: _lost(one.row) for n, one in enumerate(some) if one.row.bot_id in lost}
            )

    return write_halving(
        connection, tried, write, lambda one, error: fault(one.row.bot_id, error), verify=verify
    )


def _executions(tried: Iterable[Tried]) -> list[ExecutionRow]:
    return [row for one in tried for row in one.executions]


def _changed(one: Tried) -> LedgerRow:
    if not one.executions:
        return one.row
    message = "its draft was changed while it was being executed: validate it again"
    return LedgerRow(one.row.bot_id, "skipped", "draft_edited", message)


def _lost(row: LedgerRow) -> LedgerRow:
    """A bot whose execution the database did not keep; what the execution showed counts first."""
    lost = not_recorded(row.bot_id)
    if row.outcome != "failed":
        return lost
    return msgspec.structs.replace(row, message=f"{row.message}; besides, {lost.message}")
