"""The file of users as it is now: read again when it changes."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from worker.errors import ConfigError
from worker.log import get_logger
from worker.web.doors.people import People, read_people

log = get_logger(__name__)

LOOK_S: Final = 3.0
"""So often it is looked at, at most."""

Mark = tuple[int, int, int, int] | None


class PeopleFile:
    """Who is in the file of users. A file that does not fit changes nobody."""

    def __init__(self, path: Path) -> None:
        """Read it.

        Raises:
            ConfigError: it cannot be read, or a line does not fit.
        """
        self._path = path
        self._mark = _mark(path)
        self._look_at = 0.0
        self.people: People = read_people(path)

    def refresh(self, now: float) -> bool:
        """Read it again if it is another file, or was changed; True if other people count now.

        `now` is in seconds of a clock that only goes forward.
        """
        if now < self._look_at:
            return False
        self._look_at = now + LOOK_S
        mark = _mark(self._path)
        if mark == self._mark:
            return False
        self._mark = mark
        try:
            self.people = read_people(self._path)
        except ConfigError as error:
            log.error("users.unread", reason=str(error))
            return False
        log.info("users.read", path=str(self._path))
        return True


def _mark(path: Path) -> Mark:
    """What tells one content of the file from another, without reading it; None if it is not there."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_ctime_ns, found.st_ino, found.st_size
