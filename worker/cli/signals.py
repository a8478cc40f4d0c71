"""Commands that run until a signal comes."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Final

from worker.processes.supervisor import Supervisor

TEND_S: Final = 0.5


class _Stopped(Exception):  # noqa: N818  (a signal, not an error)
    pass


@contextmanager
def stoppable() -> Iterator[None]:
    """Let SIGTERM and SIGHUP end the block as Ctrl-C does, so that everything is stopped."""

    def stop(_number: int, _frame: FrameType | None) -> None:
        raise _Stopped

    signals = (signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.signal(number, stop) for number in signals}
    try:
        yield
    except (_Stopped, KeyboardInterrupt):
        pass
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def as_interrupt() -> Iterator[None]:
    """Let SIGTERM and SIGHUP interrupt the block as Ctrl-C does, for work that cleans up after itself."""

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = {
        number: signal.signal(number, interrupt) for number in (signal.SIGTERM, signal.SIGHUP)
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def wait(supervisor: Supervisor) -> None:
    """Tend the programs until a signal comes."""
    with stoppable():
        while True:
            supervisor.tend()
            time.sleep(TEND_S)
