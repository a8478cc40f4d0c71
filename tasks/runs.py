"""The tasks of a run."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import Any, TypeVar

import msgspec
import structlog
from celery import Task

from tasks.queue import Sender, publish_next, start_run
from worker.app import app
from worker.core.progress import Progress
from worker.db import runs
from worker.db.engine import map_database_errors
from worker.errors import StaleError, TransientError, UsageError
from worker.flower_row import FlowerRow
from worker.log import get_logger
from worker.publisher import RedisPublisher, Ticker
from worker.runtime import Runtime, runtime
from worker.steps.convert import convert_batch as do_convert
from worker.steps.finish import fail_batch, fail_run, finish_run
from worker.steps.plan import plan_run as do_plan
from worker.steps.report import Report
from worker.steps.start import Request
from worker.steps.validate import validate_batch as do_validate

log = get_logger(__name__)

ATTEMPTS = 8
"""Tries of one delivery while a server is away: about half a minute."""

REDELIVERIES = 5
"""How often a batch comes back after that, before it counts as failed."""

_T = TypeVar("_T")


class Announcer:
    """Tells Redis and Flower of a run's progress, from one process."""

    def __init__(self, current: Runtime, hostname: str) -> None:
        settings = current.settings
        self.pid = current.pid
        self.redis = RedisPublisher(current.redis, settings.namespace, settings.progress_keep_s)
        self.flower = FlowerRow(app, hostname)
        self.ticker = Ticker(settings.progress_interval_ms / 1000)
        self.sender = Sender()

    def announce(self, progress: Progress) -> None:
        """Show `progress`, unless something newer was shown."""
        if self.redis.publish(progress):
            self.flower.publish(progress)


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
    """
    for attempt in range(1, ATTEMPTS + 1):
        try:
            return work()
        except TransientError as error:
            if attempt == ATTEMPTS:
                raise
            log.warning("task.waited", attempt=attempt, error=str(error))
            sleep(random.uniform(0.5, 1.0) * min(10.0, 0.2 * 2**attempt))  # noqa: S311
    raise AssertionError("unreachable")


def _begin(task: Task[Any, Any], **ids: object) -> tuple[Runtime, Announcer, str]:
    """Bind the ids to every log line of this task; returns what the task works with."""
    structlog.contextvars.clear_contextvars()
    structlog.contextvars.bind_contextvars(task=task.name, **ids)
    hostname = task.request.hostname or "flowshift"
    return runtime(), announcer(hostname), f"worker:{hostname}"


@app.task(bind=True, name="flowshift.migrate", max_retries=REDELIVERIES, default_retry_delay=1)
def migrate(self: Task[Any, Any], /, **options: Any) -> str:
    """Start a run with the fields of `Request` as JSON; one message is one run, often as it comes.

    The same as `flowshift migrate --detach`, for anything that can send a Celery message.
    """
    _begin(self)
    try:
        request = msgspec.convert(options, Request)
        run = persist(lambda: start_run(request, request_id=self.request.id, requested_by="celery"))
    except (msgspec.ValidationError, UsageError) as error:
        log.error("run.refused", error=str(error))
        return f"refused: {error}"
    return f"run {run.run_id}"


@app.task(bind=True, name="flowshift.plan_run", max_retries=REDELIVERIES, default_retry_delay=1)
def plan_run(self: Task[Any, Any], run_id: int) -> str:
    """Split a run into batches and put the first of them into the queue."""
    current, here, actor = _begin(self, run_id=run_id)
    try:
        persist(lambda: do_plan(current.engine, run_id, actor=actor))
    except StaleError as error:
        log.info("task.stale", reason=str(error))
    except TransientError as error:
        raise self.retry(exc=error, countdown=random.uniform(5, 15)) from error  # noqa: S311
    except Exception as error:
        log.exception("run.unplanned")
        reason = f"planning failed: {type(error).__name__}: {error}"[:2000]
        persist(lambda: fail_run(current.engine, run_id, reason, actor=actor))
    _show(current, here, run_id, actor)
    left = persist(lambda: publish_next(current, here.sender, run_id))
    if left is not None:
        return _work_from(self, current, here, actor, run_id, left)
    return f"run {run_id} planned"


@app.task(
    bind=True, name="flowshift.convert_batch", max_retries=REDELIVERIES, default_retry_delay=1
)
def convert_batch(self: Task[Any, Any], run_id: int, batch: int) -> str:
    """Convert a batch, then put the next one into the queue."""
    current, here, actor = _begin(self, run_id=run_id, batch=batch)
    return _work_from(self, current, here, actor, run_id, batch)


@app.task(
    bind=True, name="flowshift.validate_batch", max_retries=REDELIVERIES, default_retry_delay=1
)
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
    while left is not None:
        said = _do_one(task, current, actor, run_id, left) or said
        _show(current, here, run_id, actor)
        left = persist(lambda: publish_next(current, here.sender, run_id))
    return said or "nothing to do"


def _do_one(task: Task[Any, Any], current: Runtime, actor: str, run_id: int, number: int) -> str:
    """What a batch came to, in words; empty where there was nothing to do."""
    try:
        report = persist(lambda: _do_batch(current, actor, run_id, number))
    except StaleError as error:
        log.info("task.stale", batch=number, reason=str(error))
        return ""
    except TransientError as error:
        if task.request.retries < REDELIVERIES:
            kwargs = {"run_id": run_id, "batch": number}
            raise task.retry(kwargs=kwargs, exc=error, countdown=random.uniform(5, 15)) from error  # noqa: S311
        return _give_up(current, run_id, number, f"tried {REDELIVERIES + 1} times: {error}")
    except Exception as error:
        log.exception("batch.faulted", batch=number)
        return _give_up(current, run_id, number, f"{type(error).__name__}: {error}")
    counts = report.counts
    return (
        f"{counts.converted} converted, {counts.unchanged} unchanged, {counts.skipped} skipped, "
        f"{counts.failed} failed, {counts.validated} validated in {report.duration_ms} ms"
    )


def _do_batch(current: Runtime, actor: str, run_id: int, number: int) -> Report:
    """Do a batch as its run's kind says, whichever task brought it."""
    settings = current.settings
    with map_database_errors(), current.engine.connect() as connection:
        kind = runs.kind_of(connection, run_id)
    if kind == "validate":
        return do_validate(
            current.engine,
            run_id,
            number,
            worker=actor,
            lease_s=settings.lease_s,
            defaults=current.defaults,
            equip=current.equip,
        )
    return do_convert(
        current.engine,
        run_id,
        number,
        worker=actor,
        lease_s=settings.lease_s,
        defaults=current.defaults,
        equipment=current.echo,
    )


def _give_up(current: Runtime, run_id: int, number: int, error: str) -> str:
    persist(lambda: fail_batch(current.engine, run_id, number, error))
    return f"batch failed: {error}"


def _show(current: Runtime, here: Announcer, run_id: int, actor: str) -> None:
    """Finish the run if this was its last batch, and show how far it is, now and then."""
    ended = persist(lambda: finish_run(current.engine, run_id, actor=actor))
    if ended is not None:
        here.announce(ended)
    elif here.ticker.is_due():
        progress = persist(lambda: _progress(current, run_id))
        if progress is not None:
            here.announce(progress)


def _progress(current: Runtime, run_id: int) -> Progress | None:
    with map_database_errors(), current.engine.connect() as connection:
        return runs.progress(connection, run_id)


@app.task(bind=True, name="flowshift.refresh_progress", expires=30, send_events=False)
def refresh_progress(self: Task[Any, Any]) -> str:
    """Show the progress of every run again: after Redis lost it, or a message got lost.

    Harmless from two beats at once: counts are absolute.
    """
    current, here, _ = _begin(self)
    with map_database_errors(), current.engine.connect() as connection:
        shown = [
            progress
            for run_id in runs.recent_ids(connection)
            if (progress := runs.progress(connection, run_id)) is not None
        ]
    for progress in shown:
        here.announce(progress)
    return f"{len(shown)} runs"
