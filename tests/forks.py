"""Forks of a process of tests."""

from __future__ import annotations

import os
import signal
import traceback
from collections.abc import Callable


def in_fork(do: Callable[[], object]) -> None:
    """Do something in a fork, and wait until that is over.

    The fork never goes on as a second process of tests.

    Raises:
        AssertionError: it did not come to its end; standard error has the reason.
    """
    pid = os.fork()
    if pid == 0:
        try:
            do()
            os._exit(0)
        except BaseException:  # noqa: BLE001  (it is printed, and the process ends)
            traceback.print_exc()
        finally:
            os.kill(os.getpid(), signal.SIGKILL)
    _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) == 0
