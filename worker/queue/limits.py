"""What a worker's pool child limits itself to: its memory, and the time of its work.

Both limits are the kernel's, so that they hold whatever the code inside does: a loop that never
returns, or a pool parent that is gone, changes nothing. The pool's parent sees how a child ended
and calls `worker.steps.lost_worker`.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from worker.errors import ConfigError
from worker.log import get_logger

if sys.platform != "win32":
    import resource

log = get_logger(__name__)

_MIB = 1024 * 1024

# Before the pool forks: parent and children agree on it, and no restart has the same again.
INSTANCE: Final = uuid.uuid4()
"""This worker and its children, from start to end; its heartbeat has it too (`worker.db.rescue`)."""

_POOLS: Final = frozenset({"prefork", "processes", "solo"})

_is_child = False


def process_name(hostname: str, pid: int | None = None) -> str:
    """The name under which a process of the worker `hostname` claims batches: never given twice.

    A container that starts again has the same host name and the same process ids.
    """
    return f"{hostname} {INSTANCE.hex[:8]}/{os.getpid() if pid is None else pid}"


def begin(*, memory_mb: int) -> None:
    """Make this process a pool child: limit its memory, and let `time_limit` end it.

    The limit is on memory that it may write (RLIMIT_DATA; on Linux that includes what is mapped).
    Beyond it Python raises MemoryError, and a library that cannot say so crashes.
    """
    global _is_child  # noqa: PLW0603  (a process is a child or it is not)
    _is_child = True
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    wanted = memory_mb * _MIB
    soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))
    log.info("child.limited", pid=os.getpid(), memory_mb=soft // _MIB)


@contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Let the kernel kill this process, by SIGALRM, if the block takes longer.

    Only in a pool child, which is replaced; elsewhere this does nothing. The inner of two wins.
    """
    if not _is_child or threading.current_thread() is not threading.main_thread():
        yield
        return
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def how_it_ended(number: int, *, time_limit_s: int, memory_mb: int) -> str:
    """What a child's end by signal `number` says, for people.

    >>> how_it_ended(11, time_limit_s=600, memory_mb=1024)
    'it was killed by signal 11 (SIGSEGV)'
    >>> how_it_ended(14, time_limit_s=600, memory_mb=1024)
    'it took longer than 600 s (signal 14, SIGALRM)'
    """
    try:
        name = signal.Signals(number).name
    except ValueError:
        return f"it was killed by signal {number}"
    if name == "SIGALRM":
        return f"it took longer than {time_limit_s} s (signal {number}, SIGALRM)"
    said = f"it was killed by signal {number} ({name})"
    if name == "SIGKILL":
        return f"{said}: by a person, or by the system, which was out of memory"
    if name == "SIGABRT":
        return f"{said}: perhaps it was out of memory, of which it may have {memory_mb:,} MB"
    return said


def refuse_pool(pool: Any) -> None:
    """Raise ConfigError for a pool in which a batch has no process of its own, or none at all.

    `pool` is a class or a name, as Celery has it; None is its default, prefork.

    >>> refuse_pool("gevent")
    Traceback (most recent call last):
    ...
    worker.errors.ConfigError: the pool 'gevent' is not supported: a batch needs a process, whose \
memory and time can be limited; start the worker with --pool=prefork
    """
    name = pool if isinstance(pool, str) else getattr(pool, "__module__", "prefork")
    name = name.partition(":")[0].rpartition(".")[2]
    if name not in _POOLS:
        raise ConfigError(
            f"the pool {name!r} is not supported: a batch needs a process, whose memory and time can be "
            "limited; start the worker with --pool=prefork"
        )
