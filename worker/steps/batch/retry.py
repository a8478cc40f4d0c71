"""Try again while a server is unavailable."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import Final, TypeVar

from worker.errors import LockedError, SlowError, TransientError
from worker.log import get_logger

log = get_logger(__name__)

ATTEMPTS: Final = 8
"""Tries of one delivery while a server is unavailable: about half a minute."""

LOCKED_ATTEMPTS: Final = 3
"""Tries while other sessions have every row locked: a second or two, then other batches' turn comes."""

LONGEST_PAUSE_S: Final = 10.0
"""The longest pause between two tries."""

Sleep = Callable[[float], None]

_T = TypeVar("_T")


def persist(work: Callable[[], _T], sleep: Sleep = time.sleep) -> _T:
    """Do `work`, again after a jittered, growing pause while a server is unavailable.

    It waits here, not in the queue: with the database unavailable there is nothing else to do, and with the
    queue unavailable a message could not be sent.

    Raises:
        TransientError: it failed `ATTEMPTS` times.
        LockedError: it failed `LOCKED_ATTEMPTS` times.
        SlowError: our own slowness was the fault, so that another try would be as slow.
    """
    for attempt in range(1, ATTEMPTS + 1):
        try:
            return work()
        except TransientError as error:
            if attempt >= _most(error):
                raise
            log.warning("task.waited", attempt=attempt, error=str(error))
            sleep(random.uniform(0.5, 1.0) * min(LONGEST_PAUSE_S, 0.2 * 2**attempt))  # noqa: S311
    raise AssertionError("unreachable")


def _most(error: TransientError) -> int:
    match error:
        case SlowError():
            return 1
        case LockedError():
            return LOCKED_ATTEMPTS
        case _:
            return ATTEMPTS


def outlast(work: Callable[[], _T], sleep: Sleep = time.sleep) -> _T:
    """Do `work`, for as long as it takes until the database answers: its result must be kept."""
    while True:
        try:
            return persist(work, sleep)
        except TransientError as error:
            log.warning("task.waited", attempt=ATTEMPTS, error=str(error))
