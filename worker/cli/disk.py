"""Whether the disk of the started servers has room, for commands that follow a run.

With no room they cannot write, and their logs, which would say so, are on the same disk.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from pathlib import Path

from worker.servers.embedded.state import DataDir
from worker.settings import Settings

ROOM_BYTES = 32 * 1024 * 1024
"""With less PostgreSQL may stop: the pieces of its log have half of that."""

_LOOK_EVERY_S = 2.0


class DiskWatch:
    """Says when there is no room any more, and when there is again."""

    def __init__(
        self,
        settings: Settings,
        tell: Callable[[str], None],
        clock: Callable[[], float] = time.monotonic,
        room_bytes: Callable[[Path], int] = lambda path: shutil.disk_usage(path).free,
    ) -> None:
        self._started_here = not (settings.database_url and settings.redis_url)
        self._data_path = settings.data_path
        self._tell = tell
        self._clock = clock
        self._room_bytes = room_bytes
        self._next_at = clock()
        self._is_full = False

    def tend(self) -> None:
        """Look now and then; call it often. Servers elsewhere are not looked at."""
        if not self._started_here or self._clock() < self._next_at:
            return
        self._next_at = self._clock() + _LOOK_EVERY_S
        try:
            directory = DataDir(self._data_path.resolve()).servers_root
            room = self._room_bytes(directory)
        except OSError:  # removed, or out of reach: others say more about that
            return
        if (room < ROOM_BYTES) != self._is_full:
            self._is_full = not self._is_full
            self._tell(_said(directory, room, is_full=self._is_full))


def _said(directory: Path, room: int, *, is_full: bool) -> str:
    megabytes = f"{room / 1_000_000:,.1f} MB left"
    if not is_full:
        return f"there is room again in {directory} ({megabytes})"
    return (
        f"the disk of {directory} is full ({megabytes}): PostgreSQL and Redis, which were started "
        "there, cannot write; make room, and the run goes on by itself"
    )
