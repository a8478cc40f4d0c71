"""Log lines about waits of an upgrade, written also if a command logs nothing else.

Commands log what an upgrade changes only on request; that it is still working, and
on what, is always logged.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from worker.log import UPGRADE_WAITS, get_logger

log = get_logger(UPGRADE_WAITS)

LONG_S: Final = 2.0
"""After so long the build of an index is worth a line."""


@contextmanager
def building(index: str, table: str, *, long_s: float = LONG_S) -> Iterator[None]:
    """Log that an index is being built once that takes `long_s`, and at its end that it is there."""
    began = time.monotonic()
    timer = threading.Timer(long_s, _say_building, (index, table))
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
    duration_s = time.monotonic() - began
    if duration_s >= long_s:
        log.info("index.created", index=index, table=table, duration_s=round(duration_s, 1))


def say_waited(what: str, attempt: int, attempts: int) -> None:
    """Log that an upgrade released its lock request for the platform's traffic."""
    log.info("lock.waited", object=what, attempt=attempt, attempts=attempts)


def _say_building(index: str, table: str) -> None:
    log.info("index.building", index=index, table=table)
