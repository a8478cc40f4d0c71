"""Become another program that ends when the process that started it does, however that ends.

    python -I -S attached.py PID PROGRAM ARGUMENT…

PID is that of the process that starts it. A program of its own and not a function between fork and
exec, where nothing that takes a lock may run beside other threads. Linux alone knows how.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from typing import Final

_PR_SET_PDEATHSIG: Final = 1


def main() -> int:
    """Become the program; returns 1 if who started it is gone already, or there is no such program."""
    parent, *command = sys.argv[1:]
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM.value)
    if os.getppid() != int(parent):
        return 1
    try:
        os.execv(command[0], command)  # noqa: S606  (a program that was looked for and found)
    except OSError as error:
        sys.stderr.write(f"{command[0]}: {error.strerror}\n")
        return 1


if __name__ == "__main__":
    sys.exit(main())
