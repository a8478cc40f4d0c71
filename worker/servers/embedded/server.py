"""What both servers have in common: how one is started, watched, stopped, and orphans of it ended."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

import psutil

from worker.errors import ConfigError
from worker.log import get_logger
from worker.servers.embedded.paths import Home
from worker.servers.embedded.state import size_of, tail

log = get_logger(__name__)

_ORPHAN_STOP_S = 30.0
_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None)  # loaded here: a forked child should do as little as possible

# No TERM, no PG*: what the user's shell holds (PGPORT, PGOPTIONS) must not reach the servers.
_ENVIRONMENT = {"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"}


class Server(ABC):
    """One server process, its data directory and its log."""

    name: ClassVar[str]
    process_name: ClassVar[str]
    pid_file: ClassVar[str]
    stop_signals: ClassVar[tuple[tuple[signal.Signals, float], ...]]  # each with a wait in seconds

    def __init__(self, home: Home, log_dir: Path) -> None:
        self.home = home
        self.directory = home.directory / self.name
        self.log_file = log_dir / f"{self.name}.log"
        self._log_start = 0
        self._process: subprocess.Popen[bytes] | None = None

    @property
    @abstractmethod
    def url(self) -> str:
        """Where clients find it."""

    @abstractmethod
    def create(self) -> None:
        """Create the data directory, whole or not at all, if there is none."""

    @abstractmethod
    def command(self) -> list[str]:
        """The program and its arguments: all configuration, so that a directory can be moved."""

    @abstractmethod
    def is_ready(self) -> bool:
        """Whether the started process takes clients."""

    @property
    def pid(self) -> int | None:
        """The process's id once started."""
        return self._process.pid if self._process else None

    @property
    def exit_code(self) -> int | None:
        """The code with which the started process ended; None while it runs."""
        return self._process.poll() if self._process else None

    def start(self) -> None:
        """Start it, after ending whatever an earlier guardian left running on the same data."""
        self.end_orphans()
        self._log_start = size_of(self.log_file)
        with self.log_file.open("ab") as out:
            self._process = self._popen(self.command(), out.fileno())

    def ask_to_stop(self) -> None:
        """Begin an orderly end, without waiting for it."""
        self._signal(self.stop_signals[0][0])

    def stop(self) -> None:
        """End it, with stronger signals where the orderly end does not come; wait until it has."""
        for kind, patience_s in self.stop_signals:
            self._signal(kind)
            if self._has_ended_within(patience_s):
                return
            log.warning("server.slow_to_stop", server=self.name, signal=kind.name)

    def end_orphans(self) -> None:
        """End processes of this data directory that no guardian watches any more.

        They are recognised by their working directory, which is the data directory for both servers:
        so a pid that the system has reused is never signalled.
        """
        left = self._processes()
        main = [process for process in left if process.pid == self._recorded_pid()]
        for process in main:
            _quietly(process, self.stop_signals[0][0])
        _, left = psutil.wait_procs(left, timeout=_ORPHAN_STOP_S if main else 1)
        for process in left:
            _quietly(process, signal.SIGKILL)
        psutil.wait_procs(left, timeout=5)

    def failure(self) -> ConfigError:
        """Says that it did not start, with the end of its log."""
        return ConfigError(
            f"{self.name} ended with {self.exit_code} while starting in {self.directory}; "
            f"{tail(self.log_file, self._log_start)}"
        )

    def _run(self, command: list[str], *, stdin: bytes = b"") -> None:
        """Run a preparing command to its end, its output going to the server's log."""
        self._log_start = size_of(self.log_file)
        with self.log_file.open("ab") as out:
            process = self._popen(command, out.fileno(), subprocess.PIPE)
            process.communicate(stdin)
        if process.returncode:
            raise ConfigError(
                f"{self.name}: {Path(command[0]).name} ended with {process.returncode}; "
                f"{tail(self.log_file, self._log_start)}"
            )

    def _popen(
        self, command: list[str], out: int, stdin: int = subprocess.DEVNULL
    ) -> subprocess.Popen[bytes]:
        return subprocess.Popen(  # type: ignore[call-overload,no-any-return]
            command,
            cwd=self.home.run_dir,
            env=_ENVIRONMENT,
            stdin=stdin,
            stdout=out,
            stderr=out,
            preexec_fn=_end_with_parent(self.stop_signals[0][0]),  # noqa: PLW1509 - one thread
            **self.home.ids,
        )

    def _has_ended_within(self, patience_s: float) -> bool:
        try:
            return self._process is None or self._process.wait(patience_s) is not None
        except subprocess.TimeoutExpired:
            return False

    def _signal(self, kind: signal.Signals) -> None:
        if self._process and self._process.poll() is None:
            self._process.send_signal(kind)

    def _processes(self) -> list[psutil.Process]:
        found = []
        for process in psutil.process_iter():
            try:
                mine = process.name() == self.process_name and Path(process.cwd()) == self.directory
            except psutil.Error:  # it has exited, is a zombie, or belongs to another user
                continue
            if mine:
                found.append(process)
        return found

    def _recorded_pid(self) -> int | None:
        try:
            return int((self.directory / self.pid_file).read_text().split()[0])
        except (OSError, ValueError, IndexError):
            return None


def _quietly(process: psutil.Process, kind: signal.Signals) -> None:
    try:
        log.warning("orphan.signalled", pid=process.pid, process=process.name(), signal=kind.name)
        process.send_signal(kind)
    except psutil.NoSuchProcess:
        pass


def _end_with_parent(kind: signal.Signals) -> Callable[[], None] | None:
    """What a child does before exec so that Linux sends it `kind` when the guardian is gone.

    Safe after fork because the guardian has one thread. Elsewhere, the next start ends orphans.
    """
    if sys.platform != "linux":
        return None
    guardian = os.getpid()

    def ask() -> None:
        _LIBC.prctl(_PR_SET_PDEATHSIG, kind.value)
        if os.getppid() != guardian:  # it was killed before we asked
            os._exit(1)

    return ask
