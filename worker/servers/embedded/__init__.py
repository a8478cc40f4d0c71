"""Embedded PostgreSQL and Redis: started if no URL is given, stopped when no process uses them.

The processes that use a data directory share one pair of servers. Three locks (flock) coordinate them,
and the kernel releases a lock when its process ends in any way, so a crash needs no cleanup:

    users.lock      shared by every user while it runs; if the guardian gets it exclusively, no user
                    is left
    guardian.lock   taken by the guardian from before it is started until it has exited
    start.lock      taken while a user looks for the guardian or starts one

The *guardian* (`python -m worker.servers.embedded <data_dir>`) is the servers' parent, in its own
session, where Ctrl-C does not reach it. It restarts a server that dies, and stops both once it gets
`users.lock`, which it keeps until it exits: a user that attaches meanwhile waits, then starts the
next guardian.

    attach() ──► users.lock (shared) ──► start.lock ──► guardian.lock free? start a guardian
                                                   └──► wait for state.json: endpoints or a failure

Modules: `state` (the files of a data directory), `locks`, `binaries`, `accounts` (what replaces root),
`paths` (directories), `server` (what both have in common), `servers` (one class each), `guardian`.
"""

from __future__ import annotations

import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path
from types import TracebackType
from typing import Self

from worker.errors import ConfigError
from worker.servers.data_dir import usable
from worker.servers.embedded.binaries import find_binaries
from worker.servers.embedded.locks import Lock
from worker.servers.embedded.state import DataDir, Endpoints, State, tail

__all__ = ["Attachment", "Endpoints", "attach"]

_POLL_S = 0.02
_IMPORT_ROOT = Path(__file__).resolve().parents[3]


class Attachment:
    """Keeps the servers running until it is closed, or until the process ends.

    A forked child shares it: the servers stay until parent and children have closed it or ended.
    """

    def __init__(self, endpoints: Endpoints, user: Lock) -> None:
        self.endpoints = endpoints
        self._user = user

    def close(self) -> None:
        """Detach. When the last user detaches, the servers stop, without a wait; safe to repeat."""
        self._user.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def attach(data_dir: Path, *, timeout_s: float = 60.0) -> Attachment:
    """Use the servers of `data_dir`; they are created and started if needed.

    Returns once both answer. Each call returns its own handle. If the servers run it takes a
    millisecond, so a process that lost its connections may attach again: if the guardian was
    killed, and on Linux the servers with it, that starts a new one.

    Raises:
        ConfigError: the packages are missing, the directory cannot be used, a server does not
            start (with the last lines of its log) or is not ready within `timeout_s`.
    """
    find_binaries()  # so that a missing package is reported before anything is created
    deadline = time.monotonic() + timeout_s
    with usable(data_dir):
        return _attach(data_dir, deadline, timeout_s)


def _attach(data_dir: Path, deadline: float, timeout_s: float) -> Attachment:
    data = DataDir.create(data_dir)
    user = Lock(data.users_lock)
    try:
        # Refused only while a guardian is stopping: it releases the lock when it exits.
        if not user.take(shared=True, deadline=deadline):
            raise _too_late(data, timeout_s)
        return Attachment(_find_or_start(data, deadline, timeout_s), user)
    except BaseException:
        user.close()
        raise


def _find_or_start(data: DataDir, deadline: float, timeout_s: float) -> Endpoints:
    with closing(Lock(data.start_lock)) as turn:
        if not turn.take(deadline=deadline):
            raise _too_late(data, timeout_s)
        try:
            return _await_endpoints(data, deadline, timeout_s)
        finally:
            turn.release()


def _await_endpoints(data: DataDir, deadline: float, timeout_s: float) -> Endpoints:
    started = False
    while time.monotonic() < deadline:
        with closing(Lock(data.guardian_lock)) as guardian:
            gone = guardian.try_take()
            if gone and not started:
                _start_guardian(data, guardian, deadline)
                started = True
                continue
            if gone:
                guardian.release()
        # After the look at the lock: a guardian that failed wrote its state before it went.
        state = data.read_state()
        if state.failure:
            raise ConfigError(state.failure)
        if gone:
            raise ConfigError(_with_log("the guardian of the servers ended unexpectedly", data))
        if state.endpoints:
            return state.endpoints
        time.sleep(_POLL_S)
    raise _too_late(data, timeout_s)


def _start_guardian(data: DataDir, guardian: Lock, deadline: float) -> None:
    """Start a guardian that takes over `guardian`, the lock, by inheriting it.

    The started process exits at once; the guardian is its child, so no zombie remains here.
    """
    data.write_state(State())  # the state of an earlier guardian is no longer true
    command = [
        sys.executable,
        "-P",
        "-m",
        "worker.servers.embedded",
        str(data.root),
        str(guardian.fd),
    ]
    with data.guardian_log.open("ab") as log:
        try:
            subprocess.run(
                command,
                cwd=_IMPORT_ROOT,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=(guardian.fd,),
                start_new_session=True,
                check=True,
                timeout=max(deadline - time.monotonic(), 1),
            )
        except (OSError, subprocess.SubprocessError) as error:
            raise ConfigError(_with_log("the servers' guardian did not start", data)) from error


def _too_late(data: DataDir, timeout_s: float) -> ConfigError:
    what = f"PostgreSQL and Redis in {data.root} were not ready within {timeout_s:g} s"
    return ConfigError(_with_log(what, data))


def _with_log(message: str, data: DataDir) -> str:
    return f"{message}; {tail(data.guardian_log)}"
