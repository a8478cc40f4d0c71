"""A loop in a thread: what runs there ends in time, and so does the loop."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator

import pytest

from worker.providers.loop import LoopThread


@pytest.fixture
def loop() -> Iterator[LoopThread]:
    loop = LoopThread()
    yield loop
    loop.close()


async def forever(ended: threading.Event) -> None:
    try:
        await asyncio.Event().wait()
    finally:
        ended.set()


def test_what_a_coroutine_returns_or_raises_comes_back(loop: LoopThread) -> None:
    async def fine() -> str:
        return "fine"

    async def fails() -> None:
        raise LookupError("no")

    assert loop.run(fine(), 20) == "fine"
    with pytest.raises(LookupError, match="no"):
        loop.run(fails(), 20)


def test_a_coroutine_that_takes_too_long_is_cancelled(loop: LoopThread) -> None:
    ended = threading.Event()

    with pytest.raises(TimeoutError):
        loop.run(forever(ended), 0.01)

    assert ended.is_set()


def test_closing_ends_the_thread_and_may_be_repeated(loop: LoopThread) -> None:
    assert any(thread.name == "flowshift-providers" for thread in threading.enumerate())

    loop.close()
    loop.close()

    assert loop.is_closed
    assert not any(thread.name == "flowshift-providers" for thread in threading.enumerate())
