"""Roll back a batch: V1 answers again on its bots, in the one transaction that ends the batch.

claim ─► lock, look, switch, note ─► ledger, counters, its end ─► commit
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Final

import msgspec
import sqlalchemy as sa

from worker.db.batches import Batch
from worker.db.ledger import LedgerRow
from worker.db.publication.rollback import Part, Returned, roll_back_bots
from worker.errors import StaleError, UsageError
from worker.log import get_logger
from worker.runtime import Runtime
from worker.steps.batch.kind import Kind
from worker.steps.batch.lifecycle import at_work, end_batch, ending
from worker.steps.batch.tally import Report
from worker.steps.publication.v1 import v1_problem
from worker.steps.request import Request

log = get_logger(__name__)


def roll_back_batch(batch: Batch, runtime: Runtime) -> Report:
    """Give the bots of a claimed batch back to V1. What is locked comes again, in a batch of its own.

    Raises:
        StaleError: it went to another worker.
        LockedError: other sessions have every bot of it locked; nothing was rolled back.
        TransientError: the database was away or busy; nothing was rolled back.
    """
    started = time.monotonic()
    with at_work(runtime, batch), ending(runtime, batch) as end:
        report = end.counted(_save(end.connection, batch, runtime, started))
    report = end.timed(report)
    log.info(
        "batch.rolled_back",
        run_id=batch.run_id,
        batch=batch.number,
        attempt=report.attempt,
        **{f"bots_{name}": n for name, n in msgspec.structs.asdict(report.counts).items()},
        duration_ms=report.duration_ms,
    )
    return report


def _check(_: Request) -> None:
    raise UsageError("a rollback is started by `flowshift rollback --detach`")


ROLL_BACK: Final = Kind(
    name="roll_back",
    run=roll_back_batch,
    check=_check,
    default_trials=lambda _: "none",
    mark="rollback",
    outcomes=("rolled_back", "unchanged", "skipped", "failed"),
)
"""A publication, or a part of it, on its way back: `unchanged` are bots that were back before."""


def _save(connection: sa.Connection, batch: Batch, runtime: Runtime, started: float) -> Report:
    publication_id, bot_ids = batch.options.publication, batch.bot_ids or ()
    if publication_id is None:
        raise StaleError(f"run {batch.run_id} rolls back no publication")
    returned = roll_back_bots(
        connection,
        Part(publication_id=publication_id, bot_ids=bot_ids),
        v1_problem=v1_problem(runtime.defaults),
    )
    rows = _rows(bot_ids, returned)
    locked = [one.bot_id for one in returned if one.state == "busy"]
    return end_batch(connection, batch, rows, locked=locked, started=started)


def _rows(bot_ids: Sequence[str], returned: Sequence[Returned]) -> list[LedgerRow]:
    """The outcome of each bot that has one; a bot that is live no more was back before."""
    states = {one.bot_id: one.state for one in returned}
    rows: list[LedgerRow] = []
    for bot_id in bot_ids:
        match states.get(bot_id):
            case "busy":
                continue
            case "rolled_back":
                rows.append(LedgerRow(bot_id, "rolled_back"))
            case "superseded":
                said = "a version that the publication did not make is live"
                rows.append(LedgerRow(bot_id, "skipped", "newer_version", said))
            case "no_way_back":
                said = "V1 is gone or does not run: the version stays live"
                rows.append(LedgerRow(bot_id, "skipped", "no_way_back", said))
            case None:
                rows.append(LedgerRow(bot_id, "unchanged"))
    return rows
