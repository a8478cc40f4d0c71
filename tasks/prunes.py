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
from worker.errors import StaleError, TransientError
from worker.log import get_logger
from worker.queue.dispatch import CeleryQueue
from worker.runtime import runtime
from worker.steps.prune.prune import Result
from worker.steps.prune.schedule import due, keep_of, prune_here

log = get_logger(__name__)

SLICE_S = 120.0
"""A message's share of a prune: far below the time limit of a task, and a worker is free again."""


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
    at = _read(slot)
    if at is None or due(runtime()) != at:
        log.info("task.stale", reason="its day is over, or done")
        return "nothing is due"
    return _prune(at, actor=f"beat:{self.request.hostname or 'flowshift'}")


def _prune(slot: dt.datetime, *, actor: str) -> str:
    try:
        result = _prune_slice(slot, actor=actor)
    except TransientError as error:
        log.warning("task.waited", attempt=1, error=str(error))
        return f"the next tick goes on: {error}"
    except StaleError as error:
        log.info("task.stale", reason=str(error))
        return f"nothing to do: {error}"
    if result.state == "unfinished" and result.is_out_of_time:
        _send(slot)  # at once; if that is lost, the next tick sends it
    return said(result)


def said(result: Result) -> str:
    """What a prune came to, in one line."""
    gone = result.gone
    why = f" ({result.reason})" if result.reason else ""
    return (
        f"{result.state}{why}: {gone.get('runs', 0):,} execution runs and "
        f"{gone.get('nodes', 0):,} node executions from before "
        f"{result.cutoffs['executions']:%Y-%m-%d %H:%M} deleted"
    )


def _prune_slice(slot: dt.datetime, *, actor: str) -> Result:
    current = runtime()
    keep = keep_of(current.settings)
    return prune_here(current, keep, actor=actor, slot=slot, slice_s=SLICE_S, patient=False)


def _read(slot: str) -> dt.datetime | None:
    try:
        return dt.datetime.fromisoformat(slot)
    except ValueError:
        return None


def _send(slot: dt.datetime) -> None:
    CeleryQueue(app).enqueue_prune(slot)
