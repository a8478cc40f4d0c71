"""Bots that kill workers, for the tests: a worker that includes this module dies of them.

    celery -A worker.app worker --include=tests.killers

What a bot does stands in its prompt. The converter itself survives every workflow that we know of.
"""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from worker.core.workflow import v1

SEGFAULT, FOR_EVER, MEMORY, KILLED, SLOW = (
    f"please {deed}"
    for deed in ("segfault", "run for ever", "take all memory", "get killed", "take your time")
)


def _run_for_ever() -> None:
    while True:
        pass


def _take_all_memory() -> None:
    taken = []
    while True:
        taken.append(bytearray(16 * 1024 * 1024))


def _take_your_time() -> None:
    """Sleep for SLOW_S seconds, and until the file SLOW_UNTIL is there."""
    time.sleep(float(os.environ.get("SLOW_S", "0")))
    until = os.environ.get("SLOW_UNTIL")
    while until and not Path(until).exists():
        time.sleep(0.05)


DEEDS: dict[str, Callable[[], Any]] = {
    SEGFAULT: lambda: ctypes.string_at(0),
    FOR_EVER: _run_for_ever,
    MEMORY: _take_all_memory,
    KILLED: lambda: os.kill(os.getpid(), signal.SIGKILL),
    SLOW: _take_your_time,
}

_decode = v1.decode


def _decode_or_kill(text: bytes, *arguments: Any, **options: Any) -> Any:
    for words, deed in DEEDS.items():
        if words.encode() in text:
            deed()
    return _decode(text, *arguments, **options)


v1.decode = _decode_or_kill
resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
