"""The tasks of a run."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import Any, TypeVar

import msgspec
import structlog
from celery import Task
from celery.exceptions import Reject

from tasks.lost import RefusedError
from tasks.start import start_run
from tasks.waiting import Waiter, progress_of
from worker.app import app
from worker.core.policy.progress import Progress
from worker.db import run_progress, runs
from worker.db.batches import Batch
from worker.db.engine import map_database_errors
from worker.errors import SlowError, StaleError, TransientError, UsageError
from worker.log import get_logger
from worker.progress.flower import FlowerRow
from worker.progress.redis import RedisPublisher, Ticker
from worker.queue.dispatch import CeleryQueue
from worker.queue.limits import process_name, time_limit
from worker.runtime import Runtime, runtime
from worker.steps.batch.convert import convert_batch as do_convert
from worker.steps.batch.tally import Report, which_bots
from worker.steps.batch.validate import validate_batch as do_validate
from worker.steps.breaker import stop_if_failing
from worker.steps.enqueue import top_up
from worker.steps.finish import fail_batch, fail_run, finish_run
from worker.steps.plan import plan_run as do_plan
from worker.steps.request import Request
from worker.steps.rescue import hand_back_batch, lose_worker, put_off_batch
from worker.steps.sweep import sweep_once
from worker.steps.throttle import Gate

log = get_logger(__name__)

ATTEMPTS = 8
"""Tries of one delivery while a server is away: about half a minute."""

_T = TypeVar("_T")


class Announcer:
    """Tells Redis and Flower of a run's progress, from one process."""

    def __init__(self, current: Runtime, hostname: str) -> None:
        settings = current.settings
        self.pid = current.pid
        self.redis = RedisPublisher(current.redis, settings.namespace, settings.progress_keep_s)
        self.flower = FlowerRow(app, hostname)
        self.ticker = Ticker(settings.progress_interval_ms / 1000)
        self.queue = CeleryQueue(app)
        self.waiter = Waiter(current, self.queue, Gate(current.engine, settings), self.show)

    def top_up(self, run_id: int) -> int | None:
        """See `worker.steps.enqueue`."""
        current = runtime()
        window = current.settings.batch_window
        return top_up(current.engine, self.queue, run_id, window=window)

    def announce(self, progress: Progress) -> None:
        """Show `progress`, unless something newer was shown."""
        if self.redis.publish(progress):
            self.flower.publish(progress)

    def show(self, run_id: int) -> None:
        """Show how far a run is, now and then."""
        if self.ticker.is_due():
            progress = progress_of(runtime(), run_id)
            if progress is not None:
                self.announce(progress)


_announcer: Announcer | None = None


def announcer(hostname: str) -> Announcer:
    """The announcer of this process, made again after a fork."""
    global _announcer  # noqa: PLW0603
    current = runtime()
    if _announcer is None or _announcer.pid != current.pid:
        _announcer = Announcer(current, hostname)
    return _announcer


def persist(work: Callable[[], _T], sleep: Callable[[float], None] = time.sleep) -> _T:
    """Do `work`, again after a jittered, growing pause while a server is away.

    Waiting here, not in the queue: with the database away there is nothing else to do, and with
    Redis away a retry could not be sent.

    Raises:
        TransientError: it failed `ATTEMPTS` times.
        SlowError: our own slowness was the fault, so that another try would be as slow.
    """
    for attempt in range(1, ATTEMPTS + 1):
        try:
            return work()
        except TransientError as error:
            if attempt == ATTEMPTS or isinstance(error, SlowError):
                raise
            log.warning("task.waited", attempt=attempt, error=str(error))
            sleep(random.uniform(0.5, 1.0) * min(10.0, 0.2 * 2**attempt))  # noqa: S311
    raise AssertionError("unreachable")


def outlast(work: Callable[[], _T], sleep: Callable[[float], None] = time.sleep) -> _T:
    """Do `work`, for as long as it takes until the database answers: what it says must be kept."""
    while True:
        try:
            return persist(work, sleep)
        except TransientError as error:
            log.warning("task.waited", attempt=ATTEMPTS, error=str(error))


def _begin(task: Task[Any, Any], **ids: object) -> tuple[Runtime, Announcer, str]:
    """Bind the ids to every log line of this task; returns what the task works with."""
    structlog.contextvars.clear_contextvars()
    structlog.contextvars.bind_contextvars(task=task.name, **ids)
    hostname = task.request.hostname or "flowshift"
    return runtime(), announcer(hostname), f"worker:{hostname}"


@app.task(bind=True, name="flowshift.start_run", throws=(RefusedError,))
def start(self: Task[Any, Any], /, *, request_id: str | None = None, **options: Any) -> str:
    """Start a run with the fields of `Request` as JSON.

    The same as `flowshift migrate --detach`, for anything that can send a Celery message. Messages
    with one `request_id` start one run, however many are sent; without one, each message does, however
    often it is delivered.

    Raises:
        RefusedError: the request cannot be carried out; nothing was started.
    """
    return _start(self, request_id, options)


@app.task(bind=True, name="flowshift.migrate", throws=(RefusedError,))
def migrate(self: Task[Any, Any], /, *, request_id: str | None = None, **options: Any) -> str:
    """The same as `flowshift.start_run`, by its older name."""
    return _start(self, request_id, options)


def _start(task: Task[Any, Any], request_id: str | None, options: dict[str, Any]) -> str:
    _begin(task)
    wanted = request_id or task.request.id
    try:
        request = msgspec.convert(options, Request)
        run = persist(lambda: start_run(request, request_id=wanted, requested_by="celery"))
    except (msgspec.ValidationError, UsageError) as error:
        log.error("run.refused", error=str(error))
        raise RefusedError(str(error)) from None
    except TransientError as error:
        # Nothing is written down yet: the message is all there is.
        raise Reject(str(error), requeue=True) from error
    return f"run {run.run_id}"


@app.task(bind=True, name="flowshift.plan_run")
def plan_run(self: Task[Any, Any], run_id: int) -> str:
    """Split a run into batches and put the first of them into the queue."""
    current, here, actor = _begin(self, run_id=run_id)
    try:
        persist(lambda: do_plan(current.engine, run_id, actor=actor))
    except StaleError as error:
        log.info("task.stale", reason=str(error))
    except TransientError as error:
        log.warning("run.put_off", error=str(error))
        return f"run {run_id} is planned by whoever sweeps next: {error}"
    except Exception as error:
        log.exception("run.unplanned")
        reason = f"planning failed: {type(error).__name__}: {error}"[:2000]
        persist(lambda: fail_run(current.engine, run_id, reason, actor=actor))
    _show(current, here, run_id, actor)
    left = persist(lambda: here.top_up(run_id))
    if left is not None:
        return _work_from(self, current, here, actor, run_id, left)
    return f"run {run_id} planned"


@app.task(bind=True, name="flowshift.convert_batch")
def convert_batch(self: Task[Any, Any], run_id: int, batch: int) -> str:
    """Convert a batch, then put the next one into the queue."""
    current, here, actor = _begin(self, run_id=run_id, batch=batch)
    return _work_from(self, current, here, actor, run_id, batch)


@app.task(bind=True, name="flowshift.validate_batch")
def validate_batch(self: Task[Any, Any], run_id: int, batch: int) -> str:
    """Execute the drafts of a batch beside V1, then put the next one into the queue."""
    current, here, actor = _begin(self, run_id=run_id, batch=batch)
    return _work_from(self, current, here, actor, run_id, batch)


def _work_from(
    task: Task[Any, Any], current: Runtime, here: Announcer, actor: str, run_id: int, batch: int
) -> str:
    """Do `batch`; while the queue is away, the rest of the run's batches too.

    A batch with nothing left to do is followed up all the same: its worker may have died between
    its commit and what follows.
    """
    said = ""
    left: int | None = batch
    me = process_name(task.request.hostname or "flowshift")
    while left is not None:
        done = _do_one(current, here, me, run_id, left, actor=actor)
        said = done or said
        _show(current, here, run_id, actor)
        left = _next(here, run_id)
        if left is not None and not done:
            here.waiter.pause_between()
    return said or "nothing to do"


def _next(here: Announcer, run_id: int) -> int | None:
    """Publish what should be in the queue; the batch that this task is to do itself, if any."""
    left = persist(lambda: here.top_up(run_id))
    if left is not None or not here.queue.failed_last:
        return left
    if not persist(lambda: here.waiter.stay_with_paused(run_id)):
        return None
    return persist(lambda: here.top_up(run_id))


def _do_one(
    current: Runtime, here: Announcer, me: str, run_id: int, number: int, *, actor: str
) -> str:
    """What a batch came to, in words; empty where there was nothing to do, or it may not begin."""
    engine = current.engine

    def attempt(claimed: Callable[[Batch], None]) -> Report:
        def shown(batch: Batch) -> None:
            here.flower.show_batch(batch.run_id, batch.number, which_bots(batch))
            claimed(batch)

        return _do_batch(current, me, run_id, number, shown)

    try:
        report = persist(lambda: here.waiter.begin(run_id, number, attempt))
    except StaleError as error:
        log.info("task.stale", batch=number, reason=str(error))
        return ""
    except SlowError:
        why = "it held rows for too long without a word (FLOWSHIFT_STATEMENT_TIMEOUT_MS)"
        persist(lambda: lose_worker(engine, me, why, actor=actor))
        return why
    except TransientError as error:
        why = str(error)
        return outlast(lambda: put_off_batch(engine, run_id, number, why, worker=me))
    except MemoryError:
        persist(lambda: lose_worker(engine, me, "it ran out of memory", actor=actor))
        return "out of memory"
    except SystemExit:  # told to stop, and out of time
        hand_back_batch(engine, run_id, number, worker=me, actor=actor)
        raise
    except Exception as error:
        log.exception("batch.faulted", batch=number)
        return _give_up(current, run_id, number, f"{type(error).__name__}: {error}")
    if report is not None and report.counts.failed:
        persist(lambda: stop_if_failing(engine, run_id))
    return "" if report is None else report.in_words()


def _do_batch(
    current: Runtime, me: str, run_id: int, number: int, claimed: Callable[[Batch], None]
) -> Report:
    """Do a batch within the time limit, as its run's kind says, whichever task brought it."""
    with time_limit(current.settings.time_limit_s):
        return _do_by_kind(current, me, run_id, number, claimed)


def _do_by_kind(
    current: Runtime, me: str, run_id: int, number: int, claimed: Callable[[Batch], None]
) -> Report:
    settings = current.settings
    with map_database_errors(), current.engine.connect() as connection:
        kind = runs.kind_of(connection, run_id)
    if kind == "validate":
        return do_validate(
            current.engine,
            run_id,
            number,
            worker=me,
            lease_s=settings.lease_s,
            defaults=current.defaults,
            equip=current.equip,
            target_ms=settings.batch_target_ms,
            claimed=claimed,
        )
    return do_convert(
        current.engine,
        run_id,
        number,
        worker=me,
        lease_s=settings.lease_s,
        defaults=current.defaults,
        equipment=current.echo,
        target_ms=settings.batch_target_ms,
        claimed=claimed,
    )


def _give_up(current: Runtime, run_id: int, number: int, error: str) -> str:
    persist(lambda: fail_batch(current.engine, run_id, number, error))
    return f"batch failed: {error}"


def _show(current: Runtime, here: Announcer, run_id: int, actor: str) -> None:
    """Finish the run if this was its last batch, and show how far it is, now and then."""
    ended = persist(lambda: finish_run(current.engine, run_id, actor=actor))
    if ended is not None:
        here.announce(ended)
    else:
        persist(lambda: here.show(run_id))


@app.task(bind=True, name="flowshift.sweep", send_events=False)
def sweep(self: Task[Any, Any]) -> str:
    """Find what nobody looks after any more, and enqueue it again.

    Harmless from two beats at once: what one has found, the other does not.
    """
    current, here, actor = _begin(self)
    try:
        with time_limit(current.settings.time_limit_s):
            closed = sweep_once(current, here.queue, actor=actor)
    except TransientError as error:
        log.warning("sweep.put_off", error=str(error))
        return f"the next one does it: {error}"
    for run_id in closed:
        progress = persist(lambda: progress_of(current, run_id))  # noqa: B023  (called at once)
        if progress is not None:
            here.announce(progress)
    return f"{len(closed)} runs closed"


@app.task(bind=True, name="flowshift.refresh_progress", send_events=False)
def refresh_progress(self: Task[Any, Any]) -> str:
    """Show the progress of every run again: after Redis lost it, or a message got lost.

    And put what should be in the queue there: somebody may have resumed a run, or ended its wait,
    while Redis was away. Harmless from two beats at once: counts are absolute. Messages do not
    expire, since that goes by two clocks: a worker whose clock is fast would drop them all. Of
    those that piled up while no worker ran, one does something.
    """
    current, here, _ = _begin(self)
    if not here.redis.claim_refresh():
        return "shown a moment ago, or Redis is away"
    with map_database_errors(), current.engine.connect() as connection:
        shown = [
            progress
            for run_id in runs.recent_ids(connection)
            if (progress := run_progress.read(connection, run_id)) is not None
        ]
    for progress in shown:
        here.announce(progress)
        if progress.state == "running":
            here.top_up(progress.run_id)
    return f"{len(shown)} runs"
