"""What takes a moment to count, counted at most once in a while, however many people look."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future, wait
from typing import Final, Generic, TypeVar

import msgspec

from worker.errors import TransientError

Key = TypeVar("Key")
Value = TypeVar("Value")

MOST_KEPT: Final = 200
"""Values of so many keys are kept, those that were asked for last."""


class Last(msgspec.Struct, Generic[Value], frozen=True):
    """What was counted last, None if nothing was yet.

    `error` is why it could not be counted again, if so; `is_being_read` says that a count goes on now.
    """

    value: Value | None = None
    error: TransientError | None = None
    is_being_read: bool = False


class Counted(Generic[Value]):
    """A value that is read anew once it is `max_age_s` old, in a thread of its own.

    Who asks waits at most `patience_s` for it, and gets the value before it then: a page is there in time,
    however long a count of the fleet takes. After an error it is tried again after `retry_s`, so that a
    page which is looked at adds nothing to the load of a database that cannot answer it.
    """

    def __init__(
        self,
        max_age_s: float,
        retry_s: float,
        patience_s: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._max_age_s = max_age_s
        self._retry_s = retry_s
        self._patience_s = patience_s
        self._clock = clock
        self._lock = threading.Lock()
        self._due_at = float("-inf")
        self._reading: Future[Last[Value]] | None = None
        self._last: Last[Value] = Last()

    def get(self, read: Callable[[], Value]) -> Last[Value]:
        """The value, or the one before it with what `read` raised: the database was unavailable.

        Raises:
            Exception: what `read` raised otherwise, at each look until it is tried again.
        """
        with self._lock:
            if self._reading is None or (self._reading.done() and self._clock() >= self._due_at):
                self._reading = self._begin(read)
            reading = self._reading
        wait([reading], self._patience_s)
        if not reading.done():
            return msgspec.structs.replace(self._last, is_being_read=True)
        return reading.result()

    def _begin(self, read: Callable[[], Value]) -> Future[Last[Value]]:
        """Read it in a thread that does not keep the process from ending."""
        reading: Future[Last[Value]] = Future()
        threading.Thread(target=self._read, args=(read, reading), name="count", daemon=True).start()
        return reading

    def _read(self, read: Callable[[], Value], reading: Future[Last[Value]]) -> None:
        kept_s, fault = self._retry_s, None
        try:
            self._last, kept_s = Last(read()), self._max_age_s
        except TransientError as error:
            self._last = Last(self._last.value, error)
        except Exception as error:  # noqa: BLE001 - `get` raises it
            fault = error
        self._due_at = self._clock() + kept_s
        if fault is None:
            reading.set_result(self._last)
        else:
            reading.set_exception(fault)


class _Place(Generic[Value]):
    """What is kept of one key."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.found: tuple[object, float, Value] | None = None


class CountedEach(Generic[Key, Value]):
    """A value for each key, which is read anew once it is too old, or once its version is another one.

    One thread reads it, the others that ask for the same key wait for it. What `read` raises is raised, and
    nothing is kept of it.
    """

    def __init__(self, most: int = MOST_KEPT, clock: Callable[[], float] = time.monotonic) -> None:
        self._most = most
        self._clock = clock
        self._lock = threading.Lock()
        self._places: OrderedDict[Key, _Place[Value]] = OrderedDict()

    def get(self, key: Key, version: object, max_age_s: float, read: Callable[[], Value]) -> Value:
        """The value of this version of `key`, at most `max_age_s` old."""
        place = self._place(key)
        with place.lock:
            if place.found is not None and place.found[0] == version:
                _, read_at, value = place.found
                if self._clock() - read_at < max_age_s:
                    return value
            # As old as its read is long: what it did not see may have been written since it began.
            began = self._clock()
            place.found = version, began, read()
            return place.found[2]

    def _place(self, key: Key) -> _Place[Value]:
        with self._lock:
            place = self._places.setdefault(key, _Place())
            self._places.move_to_end(key)
            if len(self._places) > self._most:
                self._places.popitem(last=False)
            return place
