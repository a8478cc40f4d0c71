"""The beat's scheduler: it goes on after a lost connection, and shows that its messages are accepted.

Celery's keeps one producer for as long as it lives. On RabbitMQ one lost connection makes that fail
at every message from then on. Here a message is tried again, on a new connection if need be; and
what failed all the same is followed by a new producer, so that the next one owes it nothing.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable
from typing import Any, Final

from celery import signals
from celery.beat import PersistentScheduler, SchedulingError
from celery.utils.threads import (  # type: ignore[attr-defined]  # its types are older
    bound_open_broker_sockets,
)
from kombu.common import ignore_errors

from worker.db.heartbeats import Sign
from worker.log import get_logger
from worker.processes.alert_judge import alert_judge
from worker.processes.heartbeat import Heartbeat
from worker.processes.notifier import notifier
from worker.progress.unattended import Unattended
from worker.queue.dispatch import CeleryQueue
from worker.runtime import runtime
from worker.steps.gate_due import is_tick_due
from worker.steps.notify.due import is_sending_due

log = get_logger(__name__)

TICK: Final = "flowshift.tick_publications"
"""The task that is sent only if it is due: where nobody publishes, nobody takes its messages."""

SEND: Final = "flowshift.send_notifications"
"""Likewise, if something is to be sent."""

CLOSE_S: Final = 1.0
"""How long a connection that failed is given to say farewell."""

RECONNECT_MAX_S: Final = 5.0
"""The longest pause between two tries to connect to a queue that is unavailable."""


class Accepted:
    """Which messages of the beat the queue took; written by its loop, read by its heartbeat."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._at: float | None = None
        self._count = 0
        self._problem: str | None = None

    def took(self) -> None:
        """Note that the queue took a message."""
        with self._lock:
            self._at, self._problem = self._clock(), None
            self._count += 1

    def refused(self, problem: str) -> None:
        """Note that it did not."""
        with self._lock:
            self._problem = problem

    def sign(self) -> Sign:
        """What there is to say now."""
        with self._lock:
            if self._at is None:
                return Sign(None, problem=self._problem)
            evidence = f"the queue takes its messages ({self._count:,} so far)"
            return Sign(self._clock() - self._at, evidence, self._problem)


accepted = Accepted()


class Scheduler(PersistentScheduler):
    """Celery's, with its schedule in a file, that does not keep a producer which failed.

    Of the gate's ticks, and of the messages that have notifications sent, it sends those that are due.
    """

    def apply_entry(self, entry: Any, producer: Any = None) -> None:
        """Send the message of an entry; never raises."""
        if not self._is_due(entry.task):
            return
        try:
            self.apply_async(entry, producer=producer, advance=False)
        except SchedulingError as error:
            reason = str(error.__cause__ or error)
            log.warning("beat.unsent", entry=entry.name, error=reason)
            accepted.refused(f"the queue does not take its messages: {reason}")
            self._forget_producer()
        else:
            log.debug("beat.sent", entry=entry.name)
            accepted.took()

    def _is_due(self, task: str) -> bool:
        """Whether a task has something to do; not if that cannot be read: the next time tells."""
        try:
            if task == TICK:
                return is_tick_due(runtime(), CeleryQueue(self.app))
            return task != SEND or is_sending_due(runtime())
        except Exception as error:  # noqa: BLE001  (whatever it is, the other messages must go on)
            log.warning(
                "tick.postponed" if task == TICK else "notification.postponed", error=str(error)
            )
            return False

    def _ensure_connected(self) -> Any:
        """Connect, however long that takes; the heartbeat says meanwhile that it fails."""

        def failed(error: Exception, pause_s: float) -> None:
            log.warning("beat.unconnected", error=str(error), retry_in_s=pause_s)
            accepted.refused(f"it cannot connect to the queue: {error}")

        connection: Any = self.connection
        return connection.ensure_connection(
            failed, None, interval_start=0.5, interval_step=0.5, interval_max=RECONNECT_MAX_S
        )

    def _forget_producer(self) -> None:
        """Connect anew for the next message; the old connection may be half open, and is not waited for."""
        self.__dict__.pop("producer", None)
        connection = self.__dict__.pop("connection", None)
        if connection is not None:
            bound_open_broker_sockets(connection, CLOSE_S)
            ignore_errors(connection, connection.collect)


@signals.beat_init.connect
def _begin(sender: Any, **_: object) -> None:
    """Begin the heartbeat of the process that is the beat, and show runs that no worker works on."""
    current = runtime()
    unattended = Unattended(current, sender.app, f"beat@{socket.gethostname()}")

    def work() -> Sign:
        unattended.tend()
        return accepted.sign()

    Heartbeat(current, "beat", "beat", work).start()
    notifier(current).start()
    judge = alert_judge(current)
    if judge is not None:
        judge.start()
