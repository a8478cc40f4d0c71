"""A lock between processes that no crash leaves behind."""

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path

_POLL_S = 0.02


class Lock:
    """An flock: held until every process that shares the descriptor has closed it or is gone.

    A forked child shares it, a program started by exec does not.
    """

    def __init__(self, path: Path, *, inherited_fd: int | None = None) -> None:
        """Open the lock at `path`, or go on with the descriptor of it that our parent passed us."""
        self._path = path
        if inherited_fd is None:
            self.fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        else:
            self.fd = inherited_fd
            os.set_inheritable(inherited_fd, False)

    def is_in_place(self) -> bool:
        """Whether the path still leads to this lock, and not to nothing or to a newer one."""
        try:
            return os.path.samestat(self._path.stat(), os.fstat(self.fd))
        except OSError:
            return False

    def try_take(self, *, shared: bool = False) -> bool:
        """Take the lock if it is free now."""
        mode = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
        try:
            fcntl.flock(self.fd, mode | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def take(self, *, shared: bool = False, deadline: float) -> bool:
        """Take the lock, waiting until the monotonic clock shows `deadline`."""
        while not self.try_take(shared=shared):
            if time.monotonic() >= deadline:
                return False
            time.sleep(_POLL_S)
        return True

    def release(self) -> None:
        """Give the lock up for everybody who shares the descriptor."""
        fcntl.flock(self.fd, fcntl.LOCK_UN)

    def close(self) -> None:
        """Give up our share of the lock; safe to repeat."""
        fd, self.fd = self.fd, -1
        if fd >= 0:
            os.close(fd)
