"""What a claimed batch goes through, whatever its kind: worked on, ended once, or given back."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import msgspec
import sqlalchemy as sa

from worker.core.metrics.batch import totals_of
from worker.core.metrics.model import Sample
from worker.core.policy.batch_ref import BatchRef
from worker.core.policy.states import BatchState
from worker.db import audit, batches, leaving, ledger
from worker.db.access import prefer_indexes
from worker.db.batches import Batch
from worker.db.bulk import driver
from worker.db.engine import map_database_errors
from worker.db.ledger import LedgerRow
from worker.db.measuring import totals
from worker.db.measuring.cursor import STATEMENTS
from worker.db.measuring.measured import MEASURED
from worker.errors import LockedError, StaleError, TransientError
from worker.log import get_logger
from worker.runtime import Runtime
from worker.steps.batch.lease import renewed
from worker.steps.batch.tally import Report, Tally

log = get_logger(__name__)

FAULTS_MAX = 5
"""How often a batch is postponed for a fault of its own before it counts as failed."""


class Ending:
    """The transaction that ends a batch."""

    def __init__(self, connection: sa.Connection, batch: Batch) -> None:
        self.connection = connection
        self.commit_ms = 0.0
        self.totals: list[Sample] = []
        self._batch = batch

    def counted(self, report: Report) -> Report:
        """The report of what is about to commit, which is added to the totals of metrics."""
        self.totals = totals_of(
            self._batch.kind,
            report.counts,
            report.codes,
            report.duration_ms,
            dry_run=self._batch.dry_run,
        )
        return report

    def timed(self, report: Report) -> Report:
        """The report with the time of the commit, once there was one."""
        return msgspec.structs.replace(report, commit_ms=self.commit_ms)


@contextmanager
def at_work(runtime: Runtime, batch: Batch) -> Iterator[None]:
    """Work on a claimed batch: its lease is renewed, and the database's errors are ours.

    Raises:
        TransientError: the database was unavailable or busy; nothing was done.
    """
    with map_database_errors(), renewed(runtime.engine, batch, runtime.settings.lease_s):
        yield


@contextmanager
def ending(runtime: Runtime, batch: Batch) -> Iterator[Ending]:
    """The one transaction that ends a batch, with everything that it did: it commits all or nothing.

    What this process measured since its last batch goes along into the totals of metrics.

    Raises:
        StaleError: the batch went to another worker, or is done: nothing may be written.
    """
    with (
        MEASURED.handed_over() as take_measured,
        runtime.engine.begin() as connection,
        _known_if_lost(connection),
    ):
        prefer_indexes(connection)
        if not batches.lock_for_work(connection, batch):
            raise StaleError(f"{batch.ref} was done meanwhile")
        end = Ending(connection, batch)
        yield end
        totals.add(connection, [*end.totals, *take_measured()])
        committing = time.monotonic()
    commit_s = time.monotonic() - committing
    MEASURED.observe(STATEMENTS, commit_s, "commit")
    end.commit_ms = commit_s * 1000


def end_batch(
    connection: sa.Connection,
    batch: Batch,
    rows: Sequence[LedgerRow],
    *,
    locked: Sequence[str],
    started: float,
) -> Report:
    """End a batch with the outcomes of its bots; those that others have locked come again.

    `locked` become a batch of their own. `started` is the reading of `time.monotonic` when it began.

    Raises:
        LockedError: all are locked, or changed meanwhile, and nothing was done.
        StaleError: the batch was taken from us meanwhile; nothing of this may be committed.
    """
    if locked and not rows:
        raise LockedError(f"every bot of {batch.ref} is locked by others, or has just changed")
    numbers: list[int] = []
    if locked:
        done = [row.bot_id for row in rows]
        numbers = leaving.leave(connection, batch, done=done, left=locked, through=None)
        log_left(batch, len(locked), numbers)
    ledger.insert_ledger(connection, batch.run_id, batch.number, rows)
    tally = Tally()
    tally.add(rows)
    return tally.complete(connection, batch, started, numbers)


def log_left(batch: Batch, bots: int, new_batches: Sequence[int]) -> None:
    """Log how many bots of a batch come again, in which batches."""
    log.info(
        "batch.left",
        run_id=batch.run_id,
        batch=batch.number,
        bots_locked_or_changed=bots,
        new_batches=list(new_batches),
    )


def postpone_batch(
    engine: sa.Engine, ref: BatchRef, error: str, *, worker: str, is_its_fault: bool
) -> BatchState | None:
    """Give back a batch that could not be done, to be delivered again.

    Returns what became of it: `pending`, `failed` after `FAULTS_MAX` faults and one more, None if
    another worker has it or it is over. No loss.
    """
    with map_database_errors(), engine.begin() as connection:
        state = batches.postpone(
            connection,
            ref,
            worker=worker,
            error=error,
            fault=int(is_its_fault),
            faults_max=FAULTS_MAX,
        )
    ids = {"run_id": ref.run_id, "batch": ref.number}
    if state == "failed":
        log.error("batch.failed", **ids, error=error)
    elif state == "pending":
        log.warning("batch.postponed", **ids, counted=is_its_fault, error=error)
    return state


def hand_back_batch(engine: sa.Engine, ref: BatchRef, *, worker: str, actor: str) -> bool:
    """Give a batch back because its worker shuts down gracefully: no loss.

    Says whether it could; never raises, since the worker stops whatever happens here.
    """
    try:
        with map_database_errors(), engine.begin() as connection:
            if not batches.hand_back(connection, ref, worker=worker):
                return False
            detail = {"batch": ref.number}
            reason = "its worker shut down"
            audit.record(connection, ref.run_id, actor, "batch.handed_back", reason, detail)
    except TransientError as error:
        log.warning("batch.not_handed_back", run_id=ref.run_id, batch=ref.number, error=str(error))
        return False
    log.info("batch.handed_back", run_id=ref.run_id, batch=ref.number)
    return True


@contextmanager
def _known_if_lost(connection: sa.Connection) -> Iterator[None]:
    """Let SQLAlchemy know of a connection that the driver lost.

    Else it would roll back on it, and raise the failure of that instead of what happened.
    """
    try:
        yield
    except BaseException:
        if driver(connection).closed:
            connection.invalidate()
        raise
