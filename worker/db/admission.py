"""Whether a batch may begin within its run's limits, and how many bots it takes.

Locks are taken in one order if a run has limits: its row before those of its batches. A batch that
is cut has its own row locked by then; no transaction that has a run's row locked asks for a batch
that is being claimed.
"""

from __future__ import annotations

import datetime as dt

import msgspec
import sqlalchemy as sa

from worker.core.policy import pace
from worker.core.policy.batch_ref import BatchRef
from worker.db import batches as batches_table
from worker.db.batches import Batch
from worker.db.expressions import BOTS_COUNTED
from worker.db.measuring import totals
from worker.db.runs import RunOptions
from worker.db.split import split
from worker.db.tables import batches, runs
from worker.errors import NotYetError

RECENT_BATCHES = 20
"""Batches whose duration says how large the next one should be: the older ones weigh nothing."""


def claim(
    connection: sa.Connection, ref: BatchRef, *, worker: str, lease_s: int, target_ms: int
) -> Batch | None:
    """Claim a batch within its run's limits, cut to the size that lasts `target_ms` (0: not cut).

    None if there is nothing to do, as `batches.claim` says.

    Raises:
        NotYetError: the run's `max_rate` or `concurrency` is used up. Roll back.
    """
    not_before = _lock_if_limited(connection, ref.run_id)
    if target_ms:
        _cut_to_size(connection, ref, target_ms)
    batch = batches_table.claim(connection, ref, worker=worker, lease_s=lease_s)
    if batch is None:
        return None
    if batch.options.concurrency is not None:
        _refuse_crowd(connection, batch, batch.options.concurrency)
    if batch.options.max_rate is not None:
        _take_turn(connection, batch, not_before, batch.options.max_rate)
    if batch.attempt > 1:
        totals.add_one(connection, "flowshift_batch_retries", batch.kind)
    return batch


def _lock_if_limited(connection: sa.Connection, run_id: int) -> dt.datetime | None:
    """Lock the row of a run that has limits, so that claims come one by one; its next turn."""
    limited = sa.or_(
        runs.c.options["max_rate"].as_float().is_not(None),
        runs.c.options["concurrency"].as_integer().is_not(None),
    )
    query = (
        sa.select(runs.c.paced_until)
        .where(runs.c.run_id == run_id, limited)
        .with_for_update(key_share=True)
    )
    return connection.scalar(query)


def _refuse_crowd(connection: sa.Connection, batch: Batch, concurrency: int) -> None:
    others = (
        sa.select(sa.func.count())
        .select_from(batches)
        .where(
            batches.c.run_id == batch.run_id,
            batches.c.state == "running",
            batches.c.number != batch.number,
            batches.c.lease_until > sa.func.now(),
        )
    )
    if (connection.scalar(others) or 0) >= concurrency:
        raise NotYetError("concurrency", f"{concurrency} batches at once are at work")


def _take_turn(
    connection: sa.Connection, batch: Batch, not_before: dt.datetime | None, max_rate: float
) -> None:
    now: dt.datetime = connection.execute(sa.select(sa.func.clock_timestamp())).scalar_one()
    then_s = None if not_before is None else not_before.timestamp()
    turn = pace.turn(now.timestamp(), then_s, batch.bot_count, max_rate)
    if turn.wait_s > 0:
        reason = f"{max_rate:,g} bots a second at most"
        raise NotYetError("max_rate", reason, wait_s=turn.wait_s)
    connection.execute(
        sa.update(runs)
        .where(runs.c.run_id == batch.run_id)
        .values(paced_until=dt.datetime.fromtimestamp(turn.next_s, dt.UTC))
    )


def size_now(connection: sa.Connection, run_id: int, options: RunOptions, target_ms: int) -> int:
    """How many bots the run's next batch takes, by how long the last ones took.

    Those of a few bots, such as others have left, say nothing: their time is not the bots'.
    """
    counted = BOTS_COUNTED
    done = sa.and_(
        batches.c.run_id == run_id,
        batches.c.finished_at.is_not(None),
        counted >= pace.LEAST_BOTS,
    )
    rows = connection.execute(
        sa.select(counted, batches.c.duration_ms)
        .where(done)
        .order_by(batches.c.finished_at.desc())
        .limit(RECENT_BATCHES)
    ).all()
    recent = [(bots, float(took_ms)) for bots, took_ms in reversed(rows) if bots and took_ms]
    return pace.batch_size(
        recent,
        target_ms=target_ms,
        most=options.batch_size,
        max_rate=options.max_rate,
        messages=0 if options.trials is None else options.trials.per_bot,
    )


def _cut_to_size(connection: sa.Connection, ref: BatchRef, target_ms: int) -> None:
    """Leave a pending batch as many bots as last `target_ms`; the others become a batch of their own."""
    row = connection.execute(
        sa.select(batches.c.bot_count, runs.c.options)
        .join(runs, runs.c.run_id == batches.c.run_id)
        .where(
            batches.c.run_id == ref.run_id,
            batches.c.number == ref.number,
            batches.c.state == "pending",
            runs.c.state == "running",
        )
    ).one_or_none()
    if row is None:
        return
    options = msgspec.convert(row.options, RunOptions)
    first = pace.first_part(row.bot_count, size_now(connection, ref.run_id, options, target_ms))
    if first < row.bot_count:
        split(connection, ref, first=first)
