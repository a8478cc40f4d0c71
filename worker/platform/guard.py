"""Run a program in a process group of its own, and end the group when the asking process is gone.

    guard FD PROGRAM [ARGUMENT…]

FD is a pipe whose other end the asking process has open: whatever ends that process, closes it. The
program has the guard's standard streams. The guard ends as the program did: its exit code, or 128 and
the number of its signal. Only Python's own library is used here, so that it starts at once.
"""

import contextlib
import os
import resource
import signal
import subprocess
import sys
import threading


def main(lifeline: int, argv: list[str]) -> int:
    """Run `argv` until it ends, or the pipe `lifeline` is closed."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGALRM, signal.SIGCHLD):
        signal.signal(number, signal.SIG_DFL)
    _lift_memory_limit()
    try:
        program = subprocess.Popen(argv, start_new_session=True)
    except OSError as error:
        sys.stderr.write(f"{argv[0]} cannot be run: {error.strerror}\n")
        return 126
    os.closerange(0, 2)  # its streams are the program's: their ends are seen when it is gone
    threading.Thread(target=_end_with, args=(lifeline, program.pid), daemon=True).start()
    # Not yet reaped: until it is, no other process group can have its number.
    ended = os.waitid(os.P_PID, program.pid, os.WEXITED | os.WNOWAIT)
    _kill(program.pid)
    program.wait()
    if ended is None:
        return 1
    return ended.si_status if ended.si_code == os.CLD_EXITED else 128 + ended.si_status


def _lift_memory_limit() -> None:
    """A worker's own limit (FLOWSHIFT_CHILD_MEMORY_MB) is not the program's: a JVM maps more at once."""
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_DATA, (hard, hard))


def _end_with(lifeline: int, group: int) -> None:
    with contextlib.suppress(OSError):
        os.read(lifeline, 1)
    _kill(group)


def _kill(group: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, signal.SIGKILL)


if __name__ == "__main__":
    code = main(int(sys.argv[1]), sys.argv[2:])
    os._exit(code)
