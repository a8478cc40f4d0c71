"""What this process and its children take: cores and memory, as the system counts them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import psutil

from worker.db.heartbeats import Usage


class UsageMeter:
    """Measures from one look to the next."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._me = psutil.Process()
        self._looked_at: float | None = None
        self._seen_s: dict[tuple[int, float], float] = {}

    def look(self) -> Usage:
        """The cores in use since the look before (None at the first), and the memory now.

        A child that began since counts from its beginning; one that ended since does not count.
        """
        now, seen_s, memory_bytes = self._clock(), {}, 0
        for process in self._processes():
            try:
                with process.oneshot():
                    times = process.cpu_times()
                    key = (process.pid, process.create_time())
                    memory_bytes += _memory_bytes(process)
                seen_s[key] = times.user + times.system
            except psutil.Error:  # it ended meanwhile
                continue
        used_s = sum(spent - self._seen_s.get(key, 0.0) for key, spent in seen_s.items())
        elapsed_s = None if self._looked_at is None else now - self._looked_at
        self._looked_at, self._seen_s = now, seen_s
        return Usage(used_s / elapsed_s if elapsed_s else None, memory_bytes)

    def _processes(self) -> Iterator[psutil.Process]:
        yield self._me
        try:
            yield from self._me.children(recursive=True)
        except psutil.Error:
            return


def _memory_bytes(process: psutil.Process) -> int:
    """Its share of memory: pages that processes have in common count once over all of them.

    Where the system does not say that, all pages that it has in memory.
    """
    try:
        full = process.memory_full_info()
    except (psutil.AccessDenied, OSError):
        return int(process.memory_info().rss)
    return int(getattr(full, "pss", full.rss))
