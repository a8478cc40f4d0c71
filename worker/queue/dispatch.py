"""Putting work into the queue. PostgreSQL holds the work; a message only says that it is there."""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final, Protocol

from celery import Celery
from celery.exceptions import OperationalError
from kombu.exceptions import OperationalError as TransportError
from redis.exceptions import RedisError

from worker.core.policy.run_kinds import QueueName, queue_of
from worker.core.printable import escape
from worker.db.outbox import ToEnqueue
from worker.errors import QueueAwayError
from worker.log import get_logger
from worker.queue import rabbitmq
from worker.queue.away import Away
from worker.queue.names import celery_name

log = get_logger(__name__)

AWAY: Final = (OperationalError, TransportError, RedisError, *rabbitmq.ERRORS)
"""What Celery raises while the queue does not answer."""


class Queue(Protocol):
    """The queue, as a step uses it. A message holds ids and nothing else.

    A message that is sent twice, late or never does no harm: the worker that receives it asks the
    database what is left to do, and a sweep finds work whose message is missing.
    """

    @property
    def is_away(self) -> bool:
        """Whether the queue did not answer a moment ago."""

    @property
    def failed_last(self) -> bool:
        """Whether the last batch could not be enqueued, however long ago."""

    def enqueue_plan(self, run_id: int) -> None:
        """Enqueue the planning of a run.

        Raises:
            QueueAwayError: the queue did not answer; no message was sent.
        """

    def enqueue_batch(self, batch: ToEnqueue) -> bool:
        """Enqueue a batch; False if the queue is unavailable, and no message was sent."""

    def enqueue_prune(self, slot: dt.datetime) -> None:
        """Enqueue a slice of the prune that is due at `slot`.

        Raises:
            QueueAwayError: the queue did not answer; the next tick tries again.
        """

    def answers(self) -> bool:
        """Whether the queue answers now; asks it."""

    def is_empty(self, queue: QueueName) -> bool:
        """Whether a queue was seen to hold no message that waits for a worker.

        False if it is unavailable.
        """


class CeleryQueue:
    """The queues that Celery's workers take their tasks from; one object for each process.

    It remembers for a moment that the queue is unavailable (`worker.queue.away`).
    """

    def __init__(self, app: Celery, clock: Callable[[], float] = time.monotonic) -> None:
        self._app = app
        self._away = Away(clock)
        self._failed_last = False

    @property
    def is_away(self) -> bool:
        """Whether the queue did not answer a moment ago."""
        return self._away.is_away

    @property
    def failed_last(self) -> bool:
        """Whether the last batch could not be enqueued, however long ago."""
        return self._failed_last

    def enqueue_plan(self, run_id: int) -> None:
        """Enqueue the planning of a run; see `Queue`."""
        with _map_queue_errors():
            self._app.send_task(
                "flowshift.plan_run",
                kwargs={"run_id": run_id},
                task_id=f"run-{run_id}-plan",
                argsrepr="",
                kwargsrepr=f"run {run_id}",
            )

    def enqueue_batch(self, batch: ToEnqueue) -> bool:
        """Enqueue a batch; what Flower shows of it names the run and the slice. See `Queue`."""
        if self.is_away:
            return False
        try:
            self._send_batch(batch)
        except QueueAwayError as error:
            self._away.note()
            self._failed_last = True
            log.warning(
                "batch.unsent",
                run_id=batch.ref.run_id,
                batch=batch.ref.number,
                error=str(error),
            )
            return False
        self._failed_last = False
        return True

    def _name(self, queue: QueueName) -> str:
        return celery_name(self._app.conf.task_default_queue, queue)

    def _send_batch(self, batch: ToEnqueue) -> None:
        run_id, number = batch.ref.run_id, batch.ref.number
        with _map_queue_errors():
            self._app.send_task(
                f"flowshift.{batch.kind}_batch",
                kwargs={"run_id": run_id, "batch": number},
                queue=self._name(queue_of(batch.kind)),
                task_id=f"run-{run_id}-batch-{number}",
                argsrepr="",
                kwargsrepr=escape(f"run {run_id}, batch {number}: {batch.slice}"),
            )

    def enqueue_prune(self, slot: dt.datetime) -> None:
        """Enqueue a slice of the prune that is due at `slot`; see `Queue`."""
        with _map_queue_errors():
            self._app.send_task(
                "flowshift.prune",
                kwargs={"slot": slot.isoformat()},
                kwargsrepr=f"{slot:%Y-%m-%d %H:%M} UTC",
            )

    def answers(self) -> bool:
        """Whether the queue answers now; asks it, for a second."""
        try:
            with self._app.connection_for_write() as connection:
                connection.ensure_connection(max_retries=1, timeout=1)
        except AWAY:
            return False
        return True

    def is_empty(self, queue: QueueName) -> bool:
        """Whether a queue was seen to hold no message that waits for a worker; see `Queue`."""
        connection = self._app.connection_for_read(connect_timeout=2)
        try:
            with connection:
                known = self._app.amqp.queues[self._name(queue)]
                bound = known.bind(connection.default_channel)
                # Redis has no queue to declare, and kombu looks for one under a key without our prefix.
                passive = connection.transport.driver_type != "redis"
                declared: Any = bound.queue_declare(passive=passive)
                return bool(declared.message_count == 0)
        except connection.channel_errors:  # there is none yet
            return True
        except AWAY:
            return False


@contextmanager
def _map_queue_errors() -> Iterator[None]:
    try:
        yield
    except AWAY as error:
        raise QueueAwayError(str(error)) from error
