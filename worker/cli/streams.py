"""The standard streams themselves: nothing is printed here, and nothing that prints is loaded."""

from __future__ import annotations

import os
import sys


def flush_output() -> None:
    """Write what is still to be written, or else throw it away.

    Raises:
        OSError: it cannot be written: a disk is full, or no process reads the pipe.
    """
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        raise
