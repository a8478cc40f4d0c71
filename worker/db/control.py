"""Control of runs in the database: who may begin a batch, who waits, which runs overlap.

Locks are taken in one order where a run has limits: its row before those of its batches. A batch that
is cut holds its own row by then; nobody who holds a run's row asks for one that is being claimed.
"""

from __future__ import annotations

import datetime as dt
from typing import Any

import msgspec
import sqlalchemy as sa

from worker.core.policy import circuit_breaker, pace
from worker.core.policy.health import Verdict
from worker.core.policy.states import OVER, RunKind
from worker.db import batches as batches_table
from worker.db.batches import Batch
from worker.db.runs import Run, RunOptions
from worker.db.tables import audit, batches, runs
from worker.errors import NotYetError

RECENT_BATCHES = 20
"""Batches whose duration says how large the next one should be: the older ones weigh nothing."""

HOLD_S = 15
"""Seconds for which one batch waits for all of its run, renewed every second: then another may."""

_OVERLAP_LOCK = 0x666C6F77
"""The advisory lock under which runs are compared: of two that start at once, one sees the other."""


# -- beginning a batch -------------------------------------------------------------------------


def claim(
    connection: sa.Connection,
    run_id: int,
    number: int,
    *,
    kind: RunKind,
    worker: str,
    lease_s: int,
    target_ms: int,
) -> Batch | None:
    """Claim a batch within its run's limits, cut to the size that lasts `target_ms` (0: not cut).

    None where there is nothing to do, as `batches.claim` says.

    Raises:
        NotYetError: the run's `max_rate` or `concurrency` is used up. Roll back.
    """
    not_before = _lock_if_limited(connection, run_id)
    if target_ms:
        _cut_to_size(connection, run_id, number, target_ms)
    batch = batches_table.claim(
        connection, run_id, number, kind=kind, worker=worker, lease_s=lease_s
    )
    if batch is None:
        return None
    options = msgspec.convert(batch.options, RunOptions)
    if options.concurrency is not None:
        _refuse_crowd(connection, batch, options.concurrency)
    if options.max_rate is not None:
        _take_turn(connection, batch, not_before, options.max_rate)
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


# -- the size of a batch -----------------------------------------------------------------------


def size_now(connection: sa.Connection, run_id: int, options: RunOptions, target_ms: int) -> int:
    """How many bots the run's next batch takes, by how long the last ones took.

    Those of a few bots, such as others have left, say nothing: their time is not the bots'.
    """
    counted = batches.c.converted + batches.c.unchanged + batches.c.skipped + batches.c.failed
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


def _cut_to_size(connection: sa.Connection, run_id: int, number: int, target_ms: int) -> None:
    """Leave a pending batch as many bots as last `target_ms`; the others become a batch of their own."""
    row = connection.execute(
        sa.select(batches.c.bot_count, runs.c.options)
        .join(runs, runs.c.run_id == batches.c.run_id)
        .where(
            batches.c.run_id == run_id,
            batches.c.number == number,
            batches.c.state == "pending",
            runs.c.state == "running",
        )
    ).one_or_none()
    if row is None:
        return
    options = msgspec.convert(row.options, RunOptions)
    first = pace.first_part(row.bot_count, size_now(connection, run_id, options, target_ms))
    if first < row.bot_count:
        batches_table.split(connection, run_id, number, first=first)


# -- waiting -----------------------------------------------------------------------------------


def hold(connection: sa.Connection, run_id: int, number: int, verdict: Verdict) -> bool:
    """Let one batch wait for its whole run, for `HOLD_S`, and say for what.

    False where another batch does so already, or the run does not run: then this batch is not
    needed now. On repeat by the same batch the time is renewed. The one that waits keeps every
    other batch of the run out of the queue, so that a run which waits takes one worker process.
    """
    free = sa.or_(
        runs.c.held_until.is_(None),
        runs.c.held_until < sa.func.clock_timestamp(),
        runs.c.held_batch == number,
    )
    return bool(
        connection.execute(
            sa.update(runs)
            .where(runs.c.run_id == run_id, runs.c.state == "running", free)
            .values(
                held_batch=number,
                held_until=sa.func.clock_timestamp() + sa.cast(f"{HOLD_S} seconds", sa.Interval),
                held_check=verdict.check,
                held_reason=verdict.reason[:500],
            )
        ).rowcount
    )


def release(connection: sa.Connection, run_id: int, number: int) -> bool:
    """End the waiting of a batch; says whether it was this one that waited."""
    return bool(
        connection.execute(
            sa.update(runs)
            .where(runs.c.run_id == run_id, runs.c.held_batch == number)
            .values(held_batch=None, held_until=None, held_check=None, held_reason=None)
        ).rowcount
    )


def unpublish_waiting(connection: sa.Connection, run_id: int) -> None:
    """Count no message of this run as sent: those sent while it was paused have been dropped."""
    connection.execute(
        sa.update(batches)
        .where(
            batches.c.run_id == run_id,
            batches.c.state == "pending",
            batches.c.published_at.is_not(None),
        )
        .values(published_at=None)
    )


def any_at_work(connection: sa.Connection, run_id: int) -> bool:
    """Whether a live worker has a batch of this run."""
    at_work = sa.select(batches.c.number).where(
        batches.c.run_id == run_id,
        batches.c.state == "running",
        batches.c.lease_until > sa.func.now(),
    )
    return bool(connection.scalar(sa.select(sa.exists(at_work))))


# -- the guard ---------------------------------------------------------------------------------


def window(connection: sa.Connection, run: Run) -> circuit_breaker.Window:
    """The running window of a run: its last batches since it began to run, or was resumed."""
    counted = batches.c.converted + batches.c.unchanged + batches.c.skipped + batches.c.failed
    query = (
        sa.select(counted, batches.c.codes)
        .where(
            batches.c.run_id == run.run_id,
            batches.c.state == "done",
            batches.c.finished_at >= sa.func.coalesce(run.running_since, batches.c.finished_at),
        )
        .order_by(batches.c.finished_at.desc(), batches.c.number.desc())
        .limit(circuit_breaker.WINDOW_BOTS)
    )
    with connection.execute(query.execution_options(yield_per=50)) as rows:
        return circuit_breaker.window((row[0], row[1]) for row in rows)


# -- overlap -----------------------------------------------------------------------------------


def overlapping(connection: sa.Connection, run_id: int) -> tuple[int, str] | None:
    """An active run that takes bots which this one takes too: (its number, its state).

    A run over the whole fleet overlaps with every run that takes any bot. Validations, which write
    no draft, are in nobody's way, and a dry run not in that of a paused run. Call it when the run's
    chosen bots are in batches; until the transaction ends no other run is compared.
    """
    connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_OVERLAP_LOCK)))
    row = connection.execute(_OVERLAPPING, {"run_id": run_id, "over": sorted(OVER)}).first()
    return None if row is None else (row.run_id, row.state)


# Lists are joined by hash; ranges exist beside lists only in retries of whole failed batches.
_OVERLAPPING = sa.text(
    """
    SELECT theirs.run_id, theirs.state
    FROM flowshift.runs AS mine
    JOIN flowshift.runs AS theirs
      ON theirs.run_id <> mine.run_id AND theirs.state <> ALL (:over)
     AND mine.kind = 'convert' AND theirs.kind = 'convert'
     AND NOT (mine.dry_run AND theirs.state = 'paused')
    WHERE mine.run_id = :run_id AND (
        (mine.options ->> 'selection' = 'all' AND (
            theirs.options ->> 'selection' = 'all'
            OR EXISTS (SELECT FROM flowshift.batches b WHERE b.run_id = theirs.run_id)))
        OR (theirs.options ->> 'selection' = 'all'
            AND EXISTS (SELECT FROM flowshift.batches b WHERE b.run_id = mine.run_id))
        OR EXISTS (
            SELECT FROM (SELECT unnest(b.bot_ids) AS bot_id FROM flowshift.batches b
                         WHERE b.run_id = mine.run_id) AS m
            JOIN (SELECT unnest(b.bot_ids) AS bot_id FROM flowshift.batches b
                  WHERE b.run_id = theirs.run_id) AS t USING (bot_id))
        OR EXISTS (
            SELECT FROM flowshift.batches m JOIN flowshift.batches t
              ON t.run_id = theirs.run_id AND t.bot_ids IS NULL
             AND (m.bot_ids IS NULL AND (t.after_bot_id IS NULL OR m.through_bot_id > t.after_bot_id)
                  AND (m.after_bot_id IS NULL OR t.through_bot_id > m.after_bot_id)
                  OR EXISTS (SELECT FROM unnest(m.bot_ids) AS one (bot_id)
                             WHERE one.bot_id <= t.through_bot_id
                               AND (t.after_bot_id IS NULL OR one.bot_id > t.after_bot_id)))
            WHERE m.run_id = mine.run_id)
        OR EXISTS (
            SELECT FROM flowshift.batches m JOIN flowshift.batches t
              ON t.run_id = theirs.run_id AND t.bot_ids IS NOT NULL
             AND EXISTS (SELECT FROM unnest(t.bot_ids) AS one (bot_id)
                         WHERE one.bot_id <= m.through_bot_id
                           AND (m.after_bot_id IS NULL OR one.bot_id > m.after_bot_id))
            WHERE m.run_id = mine.run_id AND m.bot_ids IS NULL))
    ORDER BY theirs.run_id
    LIMIT 1
    """
)


# -- the audit trail ---------------------------------------------------------------------------


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """A line of the audit trail."""

    id: int
    at: dt.datetime
    run_id: int | None
    actor: str
    action: str
    reason: str | None
    detail: dict[str, Any]


def trail(connection: sa.Connection, run_id: int | None, limit: int) -> list[Entry]:
    """The newest `limit` lines, of one run where it is given; the newest last."""
    query = sa.select(audit).order_by(audit.c.id.desc()).limit(limit)
    if run_id is not None:
        query = query.where(audit.c.run_id == run_id)
    return [Entry(**row._asdict()) for row in reversed(connection.execute(query).all())]


# -- tuning ------------------------------------------------------------------------------------


def tune(connection: sa.Connection, run_id: int, changes: dict[str, Any]) -> None:
    """Change a run's options; a value of None takes the limit away."""
    connection.execute(
        sa.update(runs)
        .where(runs.c.run_id == run_id)
        .values(options=runs.c.options.op("||")(changes))
    )
