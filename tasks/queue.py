"""Putting work into the queue. PostgreSQL holds the work; a message only says that it is there."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from typing import Any

from celery.exceptions import OperationalError
from kombu.exceptions import OperationalError as TransportError
from redis.exceptions import RedisError

from worker.app import app
from worker.core.printable import escape
from worker.db import batches
from worker.db.batches import ToPublish
from worker.db.engine import map_database_errors
from worker.db.runs import ECHO, Run
from worker.errors import TransientError
from worker.log import get_logger
from worker.progress.redis import AWAY_S
from worker.providers import live
from worker.queue import rabbitmq
from worker.runtime import Runtime, runtime
from worker.steps.start import Request
from worker.steps.start import start_run as write_run

log = get_logger(__name__)

AWAY = (OperationalError, TransportError, RedisError, *rabbitmq.ERRORS)
"""What is raised while the queue does not answer."""


def start_run(
    request: Request, *, request_id: str | None = None, requested_by: str = "python"
) -> Run:
    """Start a run and enqueue its planning; returns the run, in state `planning`.

    On repeat with the same `request_id` nothing new is started, and planning is enqueued again if
    it is not over (harmless: a plan is made once).

    Raises:
        UsageError: the request cannot be carried out; nothing was started.
        ConfigError: it asks models, and none can be asked from here; nothing was started.
        TransientError: PostgreSQL was away (nothing was started), or Redis was (the run waits in
            `planning`; the message names it).
    """
    current = runtime()
    if request.provider != ECHO:
        live.check(current.live)
    run = write_run(
        current.engine,
        request,
        request_id=request_id or str(uuid.uuid4()),
        requested_by=requested_by,
        default_batch_size=current.settings.batch_size,
        default_max_failures=current.settings.max_failures,
        backup=current.settings.backup,
    )
    if run.state == "planning":
        try:
            send_plan(run.run_id)
        except AWAY as error:
            raise TransientError(
                f"run {run.run_id} is written down but Redis is away, so nobody is told of it: "
                f"{error}"
            ) from error
    return run


def send_plan(run_id: int) -> None:
    """Enqueue the planning of a run."""
    app.send_task(
        "flowshift.plan_run",
        kwargs={"run_id": run_id},
        task_id=f"run-{run_id}-plan",
        argsrepr="",
        kwargsrepr=f"run {run_id}",
    )


def send_batch(run_id: int, batch: ToPublish) -> None:
    """Enqueue a batch; what Flower shows of it names the run and the slice."""
    app.send_task(
        f"flowshift.{batch.kind}_batch",
        kwargs={"run_id": run_id, "batch": batch.number},
        task_id=f"run-{run_id}-batch-{batch.number}",
        argsrepr="",
        kwargsrepr=escape(f"run {run_id}, batch {batch.number}: {batch.slice}"),
    )


class Sender:
    """Sends batches while the queue answers; remembers for a moment that it does not.

    The moment spares every batch the wait for a connection that will not come.
    """

    def __init__(
        self,
        send: Callable[[int, ToPublish], None] = send_batch,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._send = send
        self._clock = clock
        self._away_until = 0.0
        self.failed_last = False
        """Whether the last message could not be sent."""

    @property
    def is_away(self) -> bool:
        """Whether the queue did not answer a moment ago."""
        return self._clock() < self._away_until

    def send(self, run_id: int, batch: ToPublish) -> bool:
        """Whether the batch is in the queue now."""
        if self.is_away:
            return False
        try:
            self._send(run_id, batch)
        except AWAY as error:
            self._away_until = self._clock() + AWAY_S
            self.failed_last = True
            log.warning("batch.unsent", run_id=run_id, batch=batch.number, error=str(error))
            return False
        self.failed_last = False
        return True


def answers() -> bool:
    """Whether the queue answers."""
    try:
        with app.connection_for_write() as connection:
            connection.ensure_connection(max_retries=1, timeout=1)
    except AWAY:
        return False
    return True


def is_empty() -> bool:
    """Whether the queue was seen to hold no message that waits for a worker."""
    connection = app.connection_for_read(connect_timeout=2)
    try:
        with connection:
            queue = app.amqp.queues[app.conf.task_default_queue].bind(connection.default_channel)
            declared: Any = queue.queue_declare(passive=True)
            return bool(declared.message_count == 0)
    except connection.channel_errors:  # there is none: Redis forgets a queue that is empty
        return True
    except AWAY:
        return False


def publish_next(current: Runtime, sender: Sender, run_id: int) -> int | None:
    """Put what should be in the queue there: a window of the run's batches.

    Returns None, or, where the queue is away, the number of a batch that the caller must do itself:
    the work goes on without Redis, to its end if need be. Nothing is published of a run that is
    paused, over, or held by a batch that waits.
    """
    with map_database_errors(), current.engine.begin() as connection:
        taken = batches.take_to_publish(connection, run_id, current.settings.batch_window)
    unsent = [batch.number for batch in taken if not sender.send(run_id, batch)]
    if not unsent and not sender.is_away:
        return None
    with map_database_errors(), current.engine.begin() as connection:
        batches.unpublish(connection, run_id, unsent)
        return batches.any_pending(connection, run_id)
