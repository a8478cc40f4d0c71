"""What a worker can say of its work, by what its main loop saw of the queue.

A worker whose loop hangs, whose connection is lost or half open, or that takes nothing though messages
wait and its processes are idle, lives and does not work.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

import msgspec

from worker.db.heartbeats import Sign

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
