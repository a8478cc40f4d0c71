"""An event loop in a thread of its own: what runs there can be given up at any moment.

A blocking client can only limit the silence between two bytes. A server that sends a byte now and
then, in its headers or its body, would hold it for as long as it likes.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from concurrent.futures import CancelledError
from typing import Any, Final, TypeVar

T = TypeVar("T")

GRACE_S: Final = 5.0
"""How much longer than its time a coroutine may take to notice that it is given up."""


class LoopThread:
    """Runs coroutines for other threads. Belongs to the process that made it: not to be forked."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(
            target=self._loop.run_forever, name="flowshift-providers", daemon=True
        )
        self._thread.start()

    def run(self, coroutine: Coroutine[Any, Any, T], timeout_s: float) -> T:
        """What the coroutine returns or raises.

        Raises:
            TimeoutError: it took longer than `timeout_s`, and was given up.
        """
        future = asyncio.run_coroutine_threadsafe(_within(coroutine, timeout_s), self._loop)
        try:
            return future.result(max(0.0, timeout_s) + GRACE_S)
        except CancelledError:
            raise TimeoutError from None
        finally:
            future.cancel()  # where a signal's exception ended the wait; else it does nothing

    @property
    def is_closed(self) -> bool:
        """Whether nothing runs here any more."""
        return self._loop.is_closed()

    def close(self) -> None:
        """End the loop and its thread. Safe to repeat."""
        if self.is_closed:
            return
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(GRACE_S)
        if not self._thread.is_alive():
            self._loop.close()


async def _within(coroutine: Coroutine[Any, Any, T], timeout_s: float) -> T:
    async with asyncio.timeout(timeout_s):
        return await coroutine
