"""What shows that a worker works: it takes what comes from the queue.

The main process looks, from its own loop, at the connection that its messages come by; the thread of
its heartbeat tells the database. A worker whose loop hangs, whose connection is lost or half open, or
that takes nothing though messages wait and its processes are idle, lives and does not work.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Final

import msgspec
from celery import bootsteps
from celery.worker import state

from worker.app import app
from worker.db.heartbeats import Sign
from worker.log import get_logger
from worker.processes.heartbeat import Heartbeat
from worker.queue import limits
from worker.queue.dispatch import CeleryQueue
from worker.runtime import runtime

log = get_logger(__name__)

LOOK_S: Final = 1.0
"""How often the main loop looks at its connection."""

UNHURRIED_S: Final = 2.0
"""What an answer may take beyond the time after which one is due."""

IDLE_S: Final = 30.0
"""A worker that was given nothing for so long looks whether there is something to take."""


class Look(msgspec.Struct, frozen=True):
    """What the main loop saw last: when it looked, and since when nothing came (None: as it should)."""

    at: float
    silent_since: float | None = None


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


class Pulse:
    """What a worker can say of its work, put together from what its main loop saw."""

    def __init__(
        self,
        *,
        received: Callable[[], int],
        is_idle: Callable[[], bool],
        queue_is_empty: Callable[[], bool],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._clock = clock
        self._received = received
        self._is_idle = is_idle
        self._queue_is_empty = queue_is_empty
        self._look: Look | None = None
        self._known = received()
        self._moved_at = clock()
        self._left_lying = 0

    def saw(self, look: Look | None) -> None:
        """Note what the main loop saw; None if it lost its connection."""
        self._look = look

    def sign(self) -> Sign:
        """What there is to say now; called from the heartbeat's thread."""
        now, look = self._clock(), self._look
        if look is None:
            return Sign(None, problem="it is not connected to the queue")
        if look.silent_since is not None:
            silent_s = now - look.silent_since
            return Sign(silent_s, problem=f"nothing came from the queue for {silent_s:.0f} s")
        age_s = now - look.at
        if age_s > LOOK_S + UNHURRIED_S:
            return Sign(age_s, problem=f"its main loop has not turned for {age_s:.0f} s")
        if self._leaves_messages(now):
            return Sign(None, problem="messages wait, its processes are idle, and it takes none")
        return Sign(age_s, f"it takes messages ({self._known:,} so far)")

    def _leaves_messages(self, now: float) -> bool:
        """Whether it was seen twice, with nothing between, that messages wait for an idle worker."""
        received = self._received()
        if received != self._known or not self._is_idle():
            self._known, self._moved_at, self._left_lying = received, now, 0
            return False
        if now - self._moved_at < IDLE_S:
            return False
        if self._queue_is_empty():
            self._moved_at, self._left_lying = now, 0
            return False
        if self._received() == received:
            self._left_lying += 1
        return self._left_lying > 1


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
            )
            self._heartbeat.start()

    def stop(self, consumer: Any) -> None:  # noqa: ARG002
        """Called when the connection is lost, and at the end."""
        self._pulse.saw(None)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def _seems_empty() -> bool:
    """Whether no message waits; where nobody can say, none does: that the queue is away is seen too."""
    try:
        return CeleryQueue(app).is_empty()
    except Exception as error:  # noqa: BLE001  (kombu's transports raise what they like)
        log.info("queue.unread", error=str(error))
        return True
