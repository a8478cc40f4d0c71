"""Celery's side of a worker's pulse: its connection, looked at from its main loop.

The main process looks, from its own loop, at the connection that its messages come by; the thread of
its heartbeat writes to the database what `worker.processes.pulse` makes of it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from celery import bootsteps
from celery.worker import state

from worker.app import app
from worker.log import get_logger
from worker.processes.heartbeat import Heartbeat
from worker.processes.pulse import LOOK_S, UNHURRIED_S, Look, Pulse
from worker.queue import limits
from worker.queue.choice import taken_queues
from worker.queue.dispatch import CeleryQueue
from worker.runtime import runtime

log = get_logger(__name__)


class Watched:
    """The connection of a worker's consumer, looked at from its main loop."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._octets = -1
        self._heard_at = clock()

    def look(self, consumer: Any) -> Look | None:
        """Whether the broker said something lately that is due however little there is to do.

        None if there is no connection to look at.
        """
        now = self._clock()
        if consumer.connection is None or consumer.task_consumer is None:
            return None
        if consumer.connection.transport.driver_type == "redis":
            return Look(now, _unasked_since(consumer.task_consumer.channel, now))
        transport = consumer.connection.connection
        if transport.bytes_recv != self._octets:
            self._octets, self._heard_at = transport.bytes_recv, now
        # RabbitMQ sends something at least every half of the heartbeat's time.
        due_s = 1.5 * transport.heartbeat if transport.heartbeat else float("inf")
        return Look(now, self._heard_at if now - self._heard_at > due_s else None)


def _unasked_since(channel: Any, now: float) -> float | None:
    """Since when Redis owes an answer, or was not asked for a message though one could be taken.

    Each question is answered within `brpop_timeout`, with a message or without, and asked again.
    """
    if not channel.qos.can_consume():  # as many messages as it has processes for
        return None
    asked_at = channel._brpop_sent_at  # noqa: SLF001  (kombu's own health check reads the same)
    due_s = (channel.brpop_timeout or 0) + UNHURRIED_S
    if asked_at is None:
        return now - due_s
    return asked_at if now - asked_at > due_s else None


class Step(bootsteps.StartStopStep):
    """The part of Celery's consumer that looks, and begins the heartbeat when it first consumes."""

    requires = ("celery.worker.consumer.tasks:Tasks",)

    def __init__(self, consumer: Any, **given: Any) -> None:
        super().__init__(consumer, **given)
        self._pulse = Pulse(
            received=lambda: state.all_total_count[0],
            is_idle=lambda: not state.reserved_requests,
            queue_is_empty=_seems_empty,
        )
        self._heartbeat: Heartbeat | None = None
        self._timer: Any = None

    def start(self, consumer: Any) -> None:
        """Called after each connection; the loop turns from then on."""
        watched = Watched()
        self._timer = consumer.timer.call_repeatedly(
            LOOK_S, lambda: self._pulse.saw(watched.look(consumer))
        )
        if self._heartbeat is None:
            self._heartbeat = Heartbeat(
                runtime(),
                "worker",
                consumer.hostname,
                self._pulse.sign,
                instance_id=limits.INSTANCE,
                queues=taken_queues(app),
            )
            self._heartbeat.start()

    def stop(self, consumer: Any) -> None:  # noqa: ARG002
        """Called when the connection is lost, and at the end."""
        self._pulse.saw(None)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def _seems_empty() -> bool:
    """Whether no message waits in the queues that this worker takes from.

    If that cannot be read, none does: an absent queue is noticed elsewhere.
    """
    try:
        return all(CeleryQueue(app).is_empty(queue) for queue in taken_queues(app))
    except Exception as error:  # noqa: BLE001  (kombu's transports raise what they like)
        log.info("queue.unread", error=str(error))
        return True
