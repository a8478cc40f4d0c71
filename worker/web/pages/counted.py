"""What takes a moment to count, counted at most once in a while, however many people look."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Generic, TypeVar

import msgspec

from worker.errors import TransientError

Value = TypeVar("Value")


class Last(msgspec.Struct, Generic[Value], frozen=True):
    """What was counted last, None if nothing was yet; and why it could not be counted again, if so."""

    value: Value | None = None
    error: TransientError | None = None


class Counted(Generic[Value]):
    """A value that is read anew once it is `max_age_s` old. One thread reads it, others wait for it.

    After an error it is tried again after `retry_s`, so that a page which is looked at adds nothing
    to the load of a database that cannot answer it.
    """

    def __init__(
        self, max_age_s: float, retry_s: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._max_age_s = max_age_s
        self._retry_s = retry_s
        self._clock = clock
        self._lock = threading.Lock()
        self._due_at = float("-inf")
        self._last: Last[Value] = Last()

    def get(self, read: Callable[[], Value]) -> Last[Value]:
        """The value, or the one before it with what `read` raised: the database was unavailable."""
        with self._lock:
            if self._clock() >= self._due_at:
                self._last, wait_s = self._read(read)
                self._due_at = self._clock() + wait_s
            return self._last

    def _read(self, read: Callable[[], Value]) -> tuple[Last[Value], float]:
        try:
            return Last(read()), self._max_age_s
        except TransientError as error:
            return Last(self._last.value, error), self._retry_s
