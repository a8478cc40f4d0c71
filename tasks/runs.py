"""The tasks of a run: ids in, one step, what is next enqueued."""

from __future__ import annotations

from functools import partial
from typing import Any

import msgspec
from celery import Task
from celery.exceptions import Reject

from tasks.begin import begin
from tasks.lost import RefusedError
from tasks.start import start_run
from worker.app import app
from worker.core.policy.batch_ref import BatchRef
from worker.errors import GivenUpError, TransientError, UsageError
from worker.log import get_logger
from worker.steps.batch import delivery
from worker.steps.batch.kinds import KINDS
from worker.steps.batch.retry import persist
from worker.steps.refresh import report_all
from worker.steps.request import Request
from worker.steps.sweep import sweep_and_report

log = get_logger(__name__)


@app.task(bind=True, name="flowshift.start_run", throws=(RefusedError,))
def start(self: Task[Any, Any], /, *, request_id: str | None = None, **options: Any) -> str:
    """Start a run with the fields of `Request` as JSON.

    The same as `flowshift migrate --detach`, for anything that can send a Celery message. Messages
    with one `request_id` start one run, however many are sent; without one, each message does, however
    often it is delivered.

    Raises:
        RefusedError: the request cannot be carried out; nothing was started.
    """
    begin(self)
    return _start(request_id or self.request.id, options)


@app.task(bind=True, name="flowshift.migrate", throws=(RefusedError,))
def migrate(self: Task[Any, Any], /, *, request_id: str | None = None, **options: Any) -> str:
    """The same as `flowshift.start_run`, by its older name."""
    begin(self)
    return _start(request_id or self.request.id, options)


def _start(request_id: str | None, options: dict[str, Any]) -> str:
    try:
        request = msgspec.convert(options, Request)
        run = persist(partial(start_run, request, request_id=request_id, requested_by="celery"))
    except (msgspec.ValidationError, UsageError) as error:
        log.error("run.refused", error=str(error))
        raise RefusedError(str(error)) from None
    except TransientError as error:
        # Nothing is written down yet: the message is all there is.
        raise Reject(str(error), requeue=True) from error
    return f"run {run.run_id}"


@app.task(bind=True, name="flowshift.plan_run", throws=(GivenUpError,))
def plan_run(self: Task[Any, Any], run_id: int) -> str:
    """Split a run into batches and put the first of them into the queue."""
    return delivery.plan(run_id, begin(self, run_id=run_id))


def do_batch(self: Task[Any, Any], run_id: int, batch: int) -> str:
    """Do a batch as its run's kind says, then put the next one into the queue."""
    return delivery.do_batches(BatchRef(run_id, batch), begin(self, run_id=run_id, batch=batch))


BATCH_TASKS = {
    kind: app.task(bind=True, name=f"flowshift.{kind}_batch", throws=(GivenUpError,))(do_batch)
    for kind in KINDS
}
"""A task for each kind of run, so that Flower names it; the run's row says what is done."""

convert_batch = BATCH_TASKS["convert"]
validate_batch = BATCH_TASKS["validate"]


@app.task(bind=True, name="flowshift.sweep", send_events=False)
def sweep(self: Task[Any, Any]) -> str:
    """Find work that no worker looks after, and enqueue it again.

    Harmless from two beats at once: what one has found, the other does not.
    """
    try:
        closed = sweep_and_report(begin(self))
    except TransientError as error:
        log.warning("sweep.postponed", error=str(error))
        return f"the next sweep does it: {error}"
    return f"{len(closed)} runs closed"


@app.task(bind=True, name="flowshift.refresh_progress", send_events=False)
def refresh_progress(self: Task[Any, Any]) -> str:
    """Report the progress of every run again, and enqueue what should be in the queue.

    Messages do not expire, since that goes by two clocks: a worker whose clock is fast would drop them
    all. Of those that piled up while no worker ran, one does something.
    """
    reported = report_all(begin(self))
    if reported is None:
        return "reported a moment ago, or Redis is unavailable"
    return f"{reported} runs"
