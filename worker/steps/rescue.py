"""Rescue: what becomes of a batch whose worker was lost, and of a run that no worker looks after.

A batch that loses its worker goes back to the queue. One that loses its worker twice is split in
halves, and so on until a bot that kills workers is alone; it is recorded as `worker_lost` and the
run goes on. A worker that shuts down gracefully, and a server that is unavailable, count for nothing.
"""

from __future__ import annotations

from collections.abc import Collection

import msgspec
import sqlalchemy as sa

from worker.core.metrics.batch import totals_of
from worker.core.parity.overhead import measure
from worker.core.policy.batch_ref import BatchRef
from worker.core.policy.progress import Counts
from worker.core.policy.run_kinds import QueueName
from worker.db import audit, batches, ledger, lost_messages, rescue
from worker.db.engine import map_database_errors
from worker.db.ledger import LedgerRow
from worker.db.measuring import totals
from worker.db.rescue import Claim, Lost
from worker.db.split import split
from worker.log import get_logger
from worker.steps.finish import finish_run

log = get_logger(__name__)

LOSSES_MAX = 2
"""Workers that a batch may lose before it is split, and a lone bot before it is given up."""


RENEWED_WITHIN_S = 10.0
"""The longest pause of a task that waits for the database (`worker.steps.batch.retry`)."""

MARGIN_S = 5.0
"""What connecting again, and a busy machine, may take besides."""


class Swept(msgspec.Struct, frozen=True):
    """What a sweep found: runs to be planned, and runs with batches to be enqueued."""

    to_plan: tuple[int, ...] = ()
    to_enqueue: tuple[int, ...] = ()


def lose_worker(engine: sa.Engine, worker: str, why: str, *, actor: str) -> set[BatchRef]:
    """Free what the process named `worker` had claimed: it is known to be dead.

    Returns what that was. Safe to repeat.
    """
    with map_database_errors(), engine.begin() as connection:
        claims = rescue.claims_of(connection, worker)
        for claim in claims:
            _lose(connection, claim, why, actor=actor)
    return {claim.ref for claim in claims}


def patience_s(lease_s: float) -> float:
    """Seconds after the database is back until a live worker has renewed its claims, or given them back.

    >>> patience_s(30), patience_s(60)
    (15.0, 25.0)
    """
    return max(RENEWED_WITHIN_S, lease_s / 3) + MARGIN_S


def sweep(
    engine: sa.Engine,
    *,
    empty: Collection[QueueName],
    actor: str,
    lease_s: float,
    heartbeat_s: float,
) -> Swept | None:
    """Find what no worker looks after any more and make it ready to be enqueued; None if another
    sweep is under way.

    A lease that ran out while the database was unavailable is no loss until its worker has had the time to
    renew it: `lease_s` and `heartbeat_s` are how often workers do such things.
    `empty` are the queues that were seen to be empty. The caller enqueues what the
    result names. Safe to repeat, and from several places at once.
    """
    with map_database_errors(), engine.begin() as connection:
        if not rescue.begin_sweep(connection):
            return None
        overdue = rescue.claims_overdue(
            connection, heartbeat_s=heartbeat_s, patience_s=patience_s(lease_s)
        )
        for claim in overdue:
            if not claim.is_lost:
                log.info("batch.spared", run_id=claim.ref.run_id, batch=claim.ref.number)
                continue
            if batches.is_locked_for_work(connection, claim.ref):
                log.warning("batch.unrenewed", run_id=claim.ref.run_id, batch=claim.ref.number)
                continue
            why = f"its worker sends no heartbeat ({claim.worker})"
            _lose(connection, claim, why, actor=actor)
        given_back = lost_messages.put_back_lost(connection, empty=empty)
        for run_id, numbers in given_back.items():
            reason = _lost_messages(len(numbers))
            log.warning("batch.unclaimed", run_id=run_id, batches=numbers[:50], reason=reason)
            detail = {"batches": numbers}
            audit.record(connection, run_id, actor, "batch.resent", reason, detail)
        to_plan = lost_messages.take_to_plan(connection, empty=empty)
        for run_id in to_plan:
            reason = "no worker was planning it"
            log.warning("run.replanned", run_id=run_id, reason=reason)
            audit.record(connection, run_id, actor, "run.replanned", reason)
        return Swept(tuple(to_plan), tuple(rescue.open_runs(connection)))


def runs_to_close(engine: sa.Engine) -> list[int]:
    """Runs whose batches are all over and that no worker finished."""
    with map_database_errors(), engine.connect() as connection:
        return rescue.runs_left_open(connection)


def close_run(engine: sa.Engine, run_id: int, *, actor: str) -> bool:
    """Finish such a run; says whether this call did it."""
    if finish_run(engine, run_id, actor=actor) is None:
        return False
    reason = "its batches were over and no worker had finished it"
    log.warning("run.closed", run_id=run_id, reason=reason)
    with map_database_errors(), engine.begin() as connection:
        audit.record(connection, run_id, actor, "run.closed", reason)
    return True


def _lose(connection: sa.Connection, claim: Claim, why: str, *, actor: str) -> None:
    lost = rescue.count_loss(connection, claim, why)
    if lost is None:
        return
    detail: dict[str, int | None] = {
        "batch": claim.ref.number,
        "attempt": claim.attempt,
        "losses": lost.losses,
    }
    if lost.losses < LOSSES_MAX:
        action = _enqueue(connection, claim, lost, why)
    elif len(lost.bots) > 1:
        action, detail["new_batch"] = _split(connection, claim, lost, why)
    else:
        action = _give_up(connection, claim, lost, why)
    audit.record(connection, claim.ref.run_id, actor, action, why, detail)


def _enqueue(connection: sa.Connection, claim: Claim, lost: Lost, why: str) -> str:
    rescue.free(connection, claim)
    ids = {"run_id": claim.ref.run_id, "batch": claim.ref.number}
    log.warning("batch.lost", **ids, losses=lost.losses, reason=why)
    return "batch.lost"


def _split(connection: sa.Connection, claim: Claim, lost: Lost, why: str) -> tuple[str, int | None]:
    """Halve a batch; one more loss then splits a half, until a bot is alone."""
    rescue.free(connection, claim)
    added = split(connection, claim.ref)
    new = None if added is None else added.number
    halves = [claim.ref] if added is None else [claim.ref, added]
    rescue.suspect(connection, halves, LOSSES_MAX - 1)
    ids = {"run_id": claim.ref.run_id, "batch": claim.ref.number}
    log.warning("batch.split", **ids, losses=lost.losses, new_batch=new, reason=why)
    return "batch.split", new


def _give_up(connection: sa.Connection, claim: Claim, lost: Lost, why: str) -> str:
    """End a batch whose one bot kills workers; one whose bot is gone ends with nothing."""
    message = f"{lost.losses} workers were lost on this bot alone; the last one: {why}"
    rows = [LedgerRow(bot_id, "failed", "worker_lost", message) for bot_id in lost.bots]
    ledger.insert_ledger(connection, claim.ref.run_id, claim.ref.number, rows)
    counts, codes = Counts(failed=len(rows)), {"failed:worker_lost": 1} if rows else {}
    batches.complete(
        connection,
        claim.ref,
        attempt=claim.attempt,
        counts=counts,
        codes=codes,
        overhead=measure([]),
        duration_ms=0,
    )
    totals.add(connection, totals_of(lost.kind, counts, codes, 0, dry_run=lost.dry_run))
    ids = {"run_id": claim.ref.run_id, "batch": claim.ref.number}
    log.error("bot.gave_up", **ids, bot_ids=list(lost.bots), losses=lost.losses, reason=why)
    return "bot.gave_up"


def _lost_messages(count: int) -> str:
    """Why batches are enqueued again, for the audit trail.

    >>> _lost_messages(1), _lost_messages(1_200)
    ('the queue lost the message of this batch', 'the queue lost the messages of these 1,200 batches')
    """
    if count == 1:
        return "the queue lost the message of this batch"
    return f"the queue lost the messages of these {count:,} batches"
