"""Convert a batch: claim it, then read, convert and write its bots in one transaction.

    claim ─► hold the batch ─► read a chunk, locked ─► convert each bot ─► write the chunk ─┐
                                      └─────────────────── next chunk ◄──────────────────────┤
                                                 counters and the batch's end ◄──────────────┘ commit

Everything that the batch did is in that one transaction: a batch that is delivered again finds it
done, and one whose worker dies has done nothing (design section 6, guarantee 2).
"""

from __future__ import annotations

import time
from collections.abc import Callable

import msgspec
import sqlalchemy as sa

from worker.core.config import Defaults
from worker.core.proof import Equipment
from worker.db import bots
from worker.db.batches import Batch
from worker.db.bots import LedgerRow
from worker.db.runs import RunOptions
from worker.log import get_logger
from worker.steps.batch import do_batch
from worker.steps.decide import Converted, decide
from worker.steps.report import Report, Tally
from worker.steps.trial import Trial
from worker.steps.write_drafts import save

log = get_logger(__name__)


def convert_batch(
    engine: sa.Engine,
    run_id: int,
    number: int,
    *,
    worker: str,
    lease_s: int,
    defaults: Defaults,
    equipment: Equipment,
    target_ms: int = 0,
    claimed: Callable[[Batch], None] = lambda _: None,
) -> Report:
    """Convert the bots of a batch, and try their drafts: see `do_batch`, also for what it raises."""
    started = time.monotonic()
    report = do_batch(
        engine,
        run_id,
        number,
        kind="convert",
        worker=worker,
        lease_s=lease_s,
        target_ms=target_ms,
        claimed=claimed,
        prepare=lambda _: None,
        save=lambda connection, batch, _: _do(connection, batch, defaults, equipment, started),
    )
    log.info(
        "batch.converted",
        run_id=run_id,
        batch=number,
        attempt=report.attempt,
        **{f"bots_{name}": n for name, n in msgspec.structs.asdict(report.counts).items()},
        duration_ms=report.duration_ms,
    )
    return report


def _do(
    connection: sa.Connection,
    batch: Batch,
    defaults: Defaults,
    equipment: Equipment,
    started: float,
) -> Report:
    options = msgspec.convert(batch.options, RunOptions)
    trial = Trial.of(batch, options, equipment)
    chunks = bots.read_chunks(
        connection,
        after=batch.after_bot_id,
        through=batch.through_bot_id,
        bot_ids=batch.bot_ids,
        lock=not batch.dry_run,
    )
    tally = Tally()
    for chunk in chunks:
        decided = [
            decide(row, defaults, trial, include_flagged=options.include_flagged) for row in chunk
        ]
        ready = [one for one in decided if isinstance(one, Converted)]
        rows = [one for one in decided if isinstance(one, LedgerRow)]
        rows += save(connection, ready, dry_run=batch.dry_run, options=options, trial=trial)
        bots.insert_ledger(connection, batch.run_id, batch.number, rows)
        tally.add(rows)
    return tally.complete(connection, batch, started)
