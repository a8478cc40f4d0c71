"""What a worker does with a message: the batch that it names, and what follows from that.

While the queue is unavailable no further message comes, so the worker does the rest of the run by itself.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Final

from worker.core.policy.batch_ref import BatchRef
from worker.db import runs
from worker.db.engine import map_database_errors
from worker.errors import GivenUpError, StaleError, TransientError
from worker.log import get_logger
from worker.steps.batch import faults
from worker.steps.batch.execute import execute
from worker.steps.batch.process import Process
from worker.steps.batch.retry import persist
from worker.steps.batch.tally import Report
from worker.steps.breaker import stop_if_failing
from worker.steps.finish import fail_run, finish_run
from worker.steps.plan import plan_run

log = get_logger(__name__)

PAUSE_S: Final = 1.0
"""The pause before asking for work again, if there was none that may begin."""

STAY_S: Final = 300.0
"""How long a worker stays with a paused run while the queue is unavailable."""


def do_batches(first: BatchRef | None, process: Process) -> str:
    """Do a batch and enqueue what is next; while the queue is unavailable, do the rest of its run too.

    A batch with nothing left to do is followed up anyway: its worker may have died between
    its commit and what follows. Returns in words what the last batch came to.

    Raises:
        GivenUpError: a batch was given up as a whole; everything else is done.
    """
    said, given_up = "", ""
    try:
        ref = first
        while ref is not None:
            report = None
            try:
                report = persist(partial(execute, ref, process), process.sleep)
                said = report.in_words() if report is not None else said
            except (Exception, SystemExit) as error:  # noqa: BLE001  (`faults` sorts them)
                handled = faults.handle(error, ref, process)
                said = handled.said or said
                given_up = given_up or (handled.said if handled.is_given_up else "")
            _follow_up(ref.run_id, process, report)
            ref = None if _leaves_queue_full(process, report) else _next(ref.run_id, process)
            if ref is not None and process.admission.claimed is None:
                process.sleep(PAUSE_S)
    except TransientError as error:
        log.warning("batch.unfollowed", error=str(error))
        said = said or f"a sweep does the rest: {error}"
    if given_up:
        raise GivenUpError(given_up)
    return said or "nothing to do"


def plan(run_id: int, process: Process) -> str:
    """Split a run into batches and enqueue the first of them.

    Raises:
        GivenUpError: it could not be split; the run is `failed`.
    """
    try:
        given_up = _plan(run_id, process)
        _follow_up(run_id, process, None)
        left = persist(partial(process.queue.top_up, run_id), process.sleep)
    except TransientError as error:
        log.warning("run.postponed", error=str(error))
        return f"a sweep does the rest: {error}"
    if given_up:
        raise GivenUpError(given_up)
    return f"run {run_id} planned" if left is None else do_batches(left, process)


def _plan(run_id: int, process: Process) -> str:
    """Plan a run; why it could not be split into batches, empty if it was."""
    engine, actor = process.runtime.engine, process.actor
    try:
        persist(partial(plan_run, engine, run_id, actor=actor), process.sleep)
    except StaleError as error:
        log.info("task.stale", reason=str(error))
    except TransientError:
        raise
    except Exception as error:
        log.exception("run.unplanned")
        why = f"planning failed: {type(error).__name__}: {error}"[:2000]
        persist(partial(fail_run, engine, run_id, why, actor=actor), process.sleep)
        return why
    return ""


def _leaves_queue_full(process: Process, report: Report | None) -> bool:
    """Whether the end of a batch lets no other one into the queue.

    When it was claimed the queue was filled. It left no bots, and its run has no `concurrency`, which
    lets one in for each that ends.
    """
    claimed = process.admission.claimed
    if report is None or claimed is None or process.queue.messages.failed_last:
        return False
    return claimed.options.concurrency is None and not report.new_batches


def _next(run_id: int, process: Process) -> BatchRef | None:
    """Enqueue what should be in the queue; the batch that is to be done here, if any."""
    top_up = partial(process.queue.top_up, run_id)
    left = persist(top_up, process.sleep)
    if left is not None or not process.queue.messages.failed_last:
        return left
    if not persist(partial(stay_with_paused, run_id, process), process.sleep):
        return None
    return persist(top_up, process.sleep)


def stay_with_paused(
    run_id: int, process: Process, clock: Callable[[], float] = time.monotonic
) -> bool:
    """Stay with a paused run while the queue is unavailable; says whether it continues.

    No message could say that it does: a process that works without the queue has to look.
    """
    until = clock() + STAY_S
    stayed = False
    while _state(run_id, process) == "paused":
        if clock() >= until or process.queue.messages.answers():
            return False
        stayed = True
        process.sleep(PAUSE_S)
    return stayed and _state(run_id, process) == "running"


def _follow_up(run_id: int, process: Process, report: Report | None) -> None:
    """Pause the run if too many bots fail, end it if this was its last batch, report how far it is."""
    engine = process.runtime.engine
    if report is not None and report.counts.failed:
        persist(partial(stop_if_failing, engine, run_id), process.sleep)
    ended = persist(partial(finish_run, engine, run_id, actor=process.actor), process.sleep)
    if ended is not None:
        process.reporter.report(ended)
    else:
        persist(partial(process.reporter.report_now_and_then, run_id), process.sleep)


def _state(run_id: int, process: Process) -> str:
    with map_database_errors(), process.runtime.engine.connect() as connection:
        run = runs.get(connection, run_id)
    return "" if run is None else run.state
