"""A look at every bot of a large rollback: it says how far it is, and there is one at a time."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator
from typing import Final
from weakref import WeakKeyDictionary

from worker.core.counted import counted
from worker.db.publication.rolling import Which
from worker.errors import FlowshiftError
from worker.runtime import Runtime
from worker.steps.publication.rollback import Look, look
from worker.web.pages.shell import Shell

TELL_S: Final = 0.5
"""So often the page is told how far the look is."""


class _StoppedError(Exception):
    """Nobody waits for the look any more."""


class Looking:
    """A look at so many bots."""

    def __init__(self, bots: int) -> None:
        self.bots = bots
        self._done = 0
        self._stopped = threading.Event()

    @property
    def percent(self) -> int:
        """How much of the bots it has looked at, below 100: that it is over says its end."""
        return min(99, 100 * self._done // max(1, self.bots))

    def work(self, current: Runtime, which: Which) -> Look | None:
        """Look, in a thread; None if it was stopped.

        Raises:
            FlowshiftError: as `look` does.
        """
        try:
            return look(current, which, at=self._note)
        except _StoppedError:
            return None

    def stop(self) -> None:
        """End at the next bots."""
        self._stopped.set()

    def _note(self, bots: int) -> None:
        if self._stopped.is_set():
            raise _StoppedError
        self._done = bots


class Place:
    """The place of the one look of a process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._taken_by: Looking | None = None

    def take(self, looking: Looking) -> Looking:
        """Take the place; the one that has it, which is another one if it was taken."""
        with self._lock:
            self._taken_by = self._taken_by or looking
            return self._taken_by

    def work(self, looking: Looking, current: Runtime, which: Which) -> Look | None:
        """Look, and leave the place: however the thread ends, also if nobody waits for it any more."""
        try:
            return looking.work(current, which)
        finally:
            with self._lock:
                self._taken_by = None


_PLACE_OF: Final[WeakKeyDictionary[Runtime, Place]] = WeakKeyDictionary()


def _hear(work: asyncio.Future[Look | None]) -> None:
    """What a look came to that nobody waits for any more is no fault of anybody's."""
    if not work.cancelled():
        work.exception()


async def looked(shell: Shell, which: Which, bots: int) -> AsyncGenerator[str, None]:
    """How far the look at so many bots is, line by line, then what a rollback would do.

    It ends when nobody reads it any more.
    """
    current, looking = shell.current, Looking(bots)
    values = {"number": which.publication_id, "wave": which.wave}
    place = _PLACE_OF.setdefault(current, Place())
    other = place.take(looking)
    if other is not looking:
        yield shell.part("unlooked.html", **values, percent=other.percent, said=None)
        return
    work = asyncio.ensure_future(asyncio.to_thread(place.work, looking, current, which))
    work.add_done_callback(_hear)
    said = counted(bots, "bot")
    try:
        yield '<div class="looking">\n'
        told = -1
        while not work.done():
            if (percent := looking.percent) != told:
                told = percent
                yield f"<p>Looked at {told} % of {said}. The result follows here.</p>\n"
            await asyncio.wait({work}, timeout=TELL_S)
        yield f"<p>Looked at {said}.</p>\n</div>\n"
        try:
            seen = work.result()
        except FlowshiftError as error:
            yield shell.part("unlooked.html", **values, percent=None, said=str(error))
        else:
            yield shell.part("looked.html", **values, seen=seen)
    finally:
        looking.stop()
