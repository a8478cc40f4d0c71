"""Send what people are to be told: one sender for each channel, wherever it runs.

    spread (a transaction) ─► for each channel, beside the others:
        claim (a transaction) ─► the message goes out ─► record (a transaction) ─► the next one

No transaction is open while a message goes out. A sender that dies leaves a lease that runs out; its
message is sent again, with the same id. A channel that fails rests, and holds up no other.
"""

from __future__ import annotations

import datetime as dt
import random
import time
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final

import msgspec
import sqlalchemy as sa

from worker.channels.config import ChannelConfig, Channels
from worker.channels.http import TIMEOUT_S
from worker.channels.send import send
from worker.core.notify.message import Message
from worker.core.notify.retry import Answer, pause_s
from worker.db import channels as database
from worker.db import notifications
from worker.db.channels import Claimed
from worker.db.engine import map_database_errors
from worker.errors import TransientError
from worker.log import get_logger
from worker.providers.loop import LoopThread
from worker.runtime import Runtime

log = get_logger(__name__)

BUDGET_S: Final = 30.0
"""So long a sender begins new messages; then the next one goes on."""

AT_ONCE: Final = 8
"""Channels that one sender serves beside each other."""


class Sent(msgspec.Struct, frozen=True):
    """What a sender did: messages that channels took, and tries that came to nothing."""

    sent: int = 0
    failed: int = 0

    def __str__(self) -> str:
        """In one line.

        >>> str(Sent(3, 1)), str(Sent())
        ('3 sent, 1 not', '0 sent, 0 not')
        """
        return f"{self.sent} sent, {self.failed} not"


def send_due(
    current: Runtime,
    *,
    budget_s: float = BUDGET_S,
    timeout_s: float = TIMEOUT_S,
    jitter: Callable[[], float] = random.random,
    clock: Callable[[], float] = time.monotonic,
) -> Sent:
    """Spread and send what is due; safe to repeat, and from several places at once.

    New messages begin for `budget_s`; each may take `timeout_s`.

    Raises:
        TransientError: the database was unavailable before anything was sent.
    """
    channels = current.channels
    if channels is None:
        return Sent()
    spread_due(current.engine, channels)
    give_up(current)
    until = clock() + budget_s
    loop = LoopThread()
    try:
        with ThreadPoolExecutor(min(AT_ONCE, len(channels.all))) as pool:
            done = pool.map(
                lambda one: _Channel(current, channels, one, loop, jitter, timeout_s).send_until(
                    lambda: clock() < until
                ),
                channels.all,
            )
            return _sum(list(done))
    finally:
        loop.close()


def know_channels(current: Runtime) -> None:
    """Note that the channels are there: what happens from now on is for them. Safe to repeat.

    Raises:
        TransientError: the database was unavailable.
    """
    if current.channels is None:
        return
    with map_database_errors(), current.engine.begin() as connection:
        database.know(connection, current.channels.names)


def spread_due(engine: sa.Engine, channels: Channels) -> int:
    """Give every channel its delivery of what it wants; returns how many notifications that were.

    A channel is told of what happened since it was first seen, not of the day before.
    """
    with map_database_errors(), engine.begin() as connection:
        since = database.know(connection, channels.names)
        due = notifications.take_due(connection)
        pairs = [
            (event.notification_id, one.name)
            for event in due
            for one in channels.all
            if one.wants(event.kind, event.level) and event.happened_at >= since[one.name]
        ]
        notifications.spread(connection, pairs, [event.notification_id for event in due])
    return len(due)


def give_up(current: Runtime) -> None:
    """End what no channel has taken for `notify_give_up_h` hours."""
    hours = current.settings.notify_give_up_h
    with map_database_errors(), current.engine.begin() as connection:
        given_up = database.give_up(connection, hours * 3_600.0)
    for channel, count in given_up:
        log.error("notification.gave_up", channel=channel, notifications=count, after_h=hours)


class _Channel:
    """One channel while a sender serves it."""

    def __init__(
        self,
        current: Runtime,
        channels: Channels,
        one: ChannelConfig,
        loop: LoopThread,
        jitter: Callable[[], float],
        timeout_s: float,
    ) -> None:
        self._current = current
        self._channels = channels
        self._one = one
        self._loop = loop
        self._jitter = jitter
        self._timeout_s = timeout_s
        self._lease = uuid.uuid4()

    def send_until(self, may_begin: Callable[[], bool]) -> Sent:
        """Send one message after the other while there is time, until none waits or one fails."""
        sent = failed = 0
        try:
            while may_begin() and (claimed := self._claim()) is not None:
                answer = self._send(claimed)
                self._record(claimed, answer)
                sent, failed = (
                    sent + (answer.result == "sent"),
                    failed + (answer.result != "sent"),
                )
            self._release()
        except TransientError as error:  # the lease runs out, and the message is sent again
            log.warning("notification.unrecorded", channel=self._one.name, error=str(error))
        return Sent(sent, failed)

    def _claim(self) -> Claimed | None:
        with map_database_errors(), self._current.engine.begin() as connection:
            return database.claim(connection, self._one.name, self._lease)

    def _send(self, claimed: Claimed) -> Answer:
        message = message_of(self._current, claimed)
        return send(
            self._loop,
            self._channels,
            self._one,
            message,
            now_s=int(time.time()),
            timeout_s=self._timeout_s,
        )

    def _record(self, claimed: Claimed, answer: Answer) -> None:
        rest_s = pause_s(claimed.failures + 1, answer.retry_after_s, self._jitter())
        with map_database_errors(), self._current.engine.begin() as connection:
            database.record(
                connection, self._one.name, self._lease, claimed, answer, pause_s=rest_s
            )
        keys = {"channel": self._one.name, "notification_id": claimed.notification_id}
        if answer.result == "sent":
            log.info("notification.sent", **keys, kind=claimed.kind, tries=claimed.tries + 1)
        else:
            log.warning(
                "notification.not_sent", **keys, reason=answer.said, retry_in_s=round(rest_s)
            )

    def _release(self) -> None:
        with map_database_errors(), self._current.engine.begin() as connection:
            database.release(connection, self._one.name, self._lease)


def message_of(current: Runtime, claimed: Claimed) -> Message:
    """The message of a notification, with the address of its page where one is known."""
    base = current.settings.web_url.rstrip("/")
    return Message(
        message_id=f"msg_{claimed.message_id.hex}",
        kind=claimed.kind,
        level=claimed.level,
        title=claimed.title,
        reason=claimed.reason,
        next_step=claimed.next_step,
        page=f"{base}{claimed.page}" if base else None,
        happened_at=f"{claimed.happened_at.astimezone(dt.UTC):%Y-%m-%dT%H:%M:%SZ}",
        age_s=claimed.age_s,
        repeats=claimed.repeats,
        source=current.settings.namespace,
        detail=claimed.detail,
    )


def _sum(done: list[Sent]) -> Sent:
    return Sent(sum(one.sent for one in done), sum(one.failed for one in done))
