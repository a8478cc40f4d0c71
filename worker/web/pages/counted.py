"""What takes a moment to count, counted at most once in a while, however many people look."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Generic, TypeVar

Value = TypeVar("Value")


class Counted(Generic[Value]):
    """A value that is read anew once it is `max_age_s` old. One thread reads it, others wait for it."""

    def __init__(self, max_age_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._max_age_s = max_age_s
        self._clock = clock
        self._lock = threading.Lock()
        self._read_at = float("-inf")
        self._value: Value | None = None

    def get(self, read: Callable[[], Value]) -> Value:
        """The value; an error of `read` is raised, and it is tried again at the next look."""
        with self._lock:
            if self._value is None or self._clock() - self._read_at >= self._max_age_s:
                self._value = read()
                self._read_at = self._clock()
            return self._value
