"""The tasks that prune: the beat's tick, and a prune in slices.

PostgreSQL says what is due: a tick asks it, and a slice that is over, or lost with its worker, is
followed by the next tick's. A second beat, a late or a doubled message find nothing to do.
"""

from __future__ import annotations

import datetime as dt
from typing import Any

import structlog
from celery import Task

from worker.app import app
from worker.core.policy.retention import DAY_S, may_begin, slot_at
from worker.db import runs
from worker.db.engine import map_database_errors
from worker.db.prune import executions, record
from worker.errors import StaleError, TransientError
from worker.log import get_logger
from worker.progress.expiry import forget_run, tidy
from worker.queue.dispatch import CeleryQueue
from worker.runtime import Runtime, runtime
from worker.settings import Settings
from worker.steps.prune.prune import Keep, Result
from worker.steps.prune.prune import prune as do_prune
from worker.steps.prune.session import Gate
from worker.steps.throttle import Gate as HealthGate

log = get_logger(__name__)

SLICE_S = 120.0
"""A message's share of a prune: far below the time limit of a task, and a worker is free again."""


def keep_of(settings: Settings, *, executions_s: int | None = None) -> Keep:
    """How long the settings keep records; `executions_s` where a person said otherwise."""
    return Keep(
        executions_s=executions_s or settings.keep_executions_days * DAY_S,
        runs_s=settings.keep_runs_days * DAY_S,
        ledger_s=settings.keep_ledger_days * DAY_S,
        audit_s=settings.keep_audit_days * DAY_S,
    )


def gate_of(current: Runtime) -> Gate:
    """What a prune asks before each batch: the health checks that a run's batches pass."""
    return HealthGate(current.engine, current.settings).verdict


def due(current: Runtime) -> dt.datetime | None:
    """The slot for which there is something to do, by the database's clock; None for none.

    A prune begins within an hour of its time. One that has begun goes on until the next one's.
    """
    with map_database_errors(), current.engine.connect() as connection:
        now_s = int(executions.now(connection).timestamp())
        slot_s = slot_at(now_s, current.settings.prune_at)
        if slot_s is None:
            return None
        slot = dt.datetime.fromtimestamp(slot_s, dt.UTC)
        state = record.state_of(connection, slot)
    is_due = may_begin(now_s, slot_s) if state is None else state == "running"
    return slot if is_due else None


@app.task(name="flowshift.tick_prune", send_events=False)
def tick_prune() -> str:
    """Send the slice of a prune that is due. Twice is harmless: the second finds it locked.

    Messages do not expire, since that goes by two clocks; a late one finds nothing due.
    """
    slot = due(runtime())
    if slot is None:
        return "nothing is due"
    _send(slot)
    return f"{slot:%Y-%m-%d %H:%M} is due"


@app.task(bind=True, name="flowshift.prune")
def prune(self: Task[Any, Any], slot: str) -> str:
    """Prune for some time, for the slot of a day; the next slice goes on."""
    structlog.contextvars.clear_contextvars()
    structlog.contextvars.bind_contextvars(task=self.name, slot=slot)
    current = runtime()
    try:
        at = dt.datetime.fromisoformat(slot)
    except ValueError:
        at = None
    if at is None or due(current) != at:
        log.info("task.stale", reason="its day is over, or done")
        return "nothing is due"
    settings = current.settings
    try:
        result = do_prune(
            current.engine,
            keep_of(settings),
            actor=f"beat:{self.request.hostname or 'flowshift'}",
            gate=gate_of(current),
            slot=at,
            pause_s=settings.prune_pause_ms / 1000,
            slice_s=SLICE_S,
            patient=False,
            forget_run=lambda run_id: forget_run(current.redis, settings.namespace, run_id),
        )
    except TransientError as error:
        log.warning("task.waited", attempt=1, error=str(error))
        return f"the next tick goes on: {error}"
    except StaleError as error:
        log.info("task.stale", reason=str(error))
        return f"nothing to do: {error}"
    if result.state == "unfinished" and result.is_out_of_time:
        _send(at)  # at once; where that is lost, the next tick sends it
    if result.state == "done":
        tidy_keys(current)
    return said(result)


def tidy_keys(current: Runtime) -> None:
    """Remove from Redis what is too old."""

    def is_current(run_id: int) -> bool:
        with map_database_errors(), current.engine.connect() as connection:
            run = runs.get(connection, run_id)
        return run is not None and run.finished_at is None

    tidy(
        current.redis,
        current.settings.namespace,
        keep_s=current.settings.progress_keep_s,
        is_current=is_current,
    )


def said(result: Result) -> str:
    """What a prune came to, in one line."""
    gone = result.gone
    why = f" ({result.reason})" if result.reason else ""
    return (
        f"{result.state}{why}: {gone.get('runs', 0):,} execution runs and "
        f"{gone.get('nodes', 0):,} node executions from before "
        f"{result.cutoffs['executions']:%Y-%m-%d %H:%M} deleted"
    )


def _send(slot: dt.datetime) -> None:
    CeleryQueue(app).enqueue_prune(slot)
