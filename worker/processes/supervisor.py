"""Keep processes of ours running: started in order, restarted when they die, stopped in reverse.

What lives without working is restarted too, by the heartbeats that it writes into the database.

Each process runs in a session of its own, so that a terminal's Ctrl-C reaches only us and we can
stop them one by one; stop signals go to the main process only, never to a pool's children
(a worker whose children are killed first takes it for a loss).
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Self

import msgspec

from worker.core.policy.processes import Process, why_useless
from worker.log import get_logger
from worker.queue.environment import for_children
from worker.servers.data_dir import usable

log = get_logger(__name__)

STEADY_S = 10.0
"""A process that lived this long is restarted at once when it dies."""

PAUSE_MAX_S = 30.0
STOP_MARGIN_S = 5.0
"""A process that gets SIGTERM may take this much longer than a worker gives its batches."""

CLOCKS_S = 2.0
"""What the database's clock and ours may differ by over the life of a process."""

Look = Callable[[], Sequence[Process] | None]
"""Reads the heartbeats of this host; None while a server is unavailable, when none can show work."""


class Program(msgspec.Struct, frozen=True):
    """A process to keep running: its command, and what it has in its environment besides ours."""

    name: str
    command: tuple[str, ...]
    environment: Mapping[str, str] = {}


def with_environment(programs: Iterable[Program], more: Mapping[str, str]) -> list[Program]:
    """The same programs, with `more` in the environment of each."""
    return [
        msgspec.structs.replace(one, environment={**one.environment, **more}) for one in programs
    ]


def celery(*arguments: str) -> tuple[str, ...]:
    """A command of Celery with our application, run by this very Python."""
    return (sys.executable, "-P", "-m", "worker.celery_command", "--quiet", *arguments)


def worker_program(
    processes: int, *, name: str = "worker", queue: str | None = None, log_level: str = "info"
) -> Program:
    """A worker with a pool of `processes`.

    It takes messages of `queue`, as Celery calls it; without it, of all that its role may.
    """
    arguments = (
        "worker",
        f"--concurrency={processes}",
        f"--hostname={name}-{os.getpid()}@%h",
        f"--loglevel={log_level}",
        "--without-mingle",
        "--without-gossip",
        *((f"--queues={queue}",) if queue else ()),
    )
    return Program(name, celery(*arguments))


def beat_program(schedule_file: Path) -> Program:
    """The beat; a second one elsewhere is harmless."""
    arguments = ("beat", f"--schedule={schedule_file}", "--pidfile=")
    return Program("beat", celery(*arguments))


_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None


def _end_with_us() -> Callable[[], None] | None:
    """What a child does first, so that Linux sends it SIGTERM when we are killed."""
    libc = _LIBC
    if libc is None:
        return None
    return lambda: libc.prctl(_PR_SET_PDEATHSIG, int(signal.SIGTERM))


class _Kept:
    """A program and its present process."""

    def __init__(self, program: Program, log_file: IO[bytes] | None, stop_s: float) -> None:
        self.program = program
        self._stop_s = stop_s
        self.useless_since: float | None = None
        self.useless_times = 0
        self.kill_at: float | None = None
        self.process: subprocess.Popen[bytes] | None = None
        self.started_at = 0.0
        self.failures = 0
        self.restart_at = 0.0
        self._log_file = log_file

    def start(self, now: float) -> None:
        self.process = subprocess.Popen(
            self.program.command,
            env={**for_children(), **self.program.environment},
            stdin=subprocess.DEVNULL,
            # All lines of ours go to standard error; only Celery greets on standard output.
            stdout=self._log_file or subprocess.DEVNULL,
            stderr=subprocess.STDOUT if self._log_file else None,
            start_new_session=True,
            preexec_fn=_end_with_us(),  # noqa: PLW1509  (one call of the C library, no locks)
        )
        self.started_at = now

    def tend(self, now: float) -> None:
        """Restart the process if it died; after quick deaths only after a growing pause."""
        if self.process is None:
            if now >= self.restart_at:
                self.start(now)
            return
        code = self.process.poll()
        if code is None:
            if self.kill_at is not None and now >= self.kill_at:
                log.warning("process.killed", name=self.program.name)
                self.process.kill()
                self.kill_at = None
            return
        self.kill_at = self.useless_since = None
        if self.useless_times:
            pause = min(PAUSE_MAX_S, 0.5 * 2**self.useless_times)
            self._restart_in(pause, now, code)
            return
        steady = now - self.started_at >= STEADY_S
        self.failures = 0 if steady else self.failures + 1
        pause = min(PAUSE_MAX_S, 0.5 * 2**self.failures) if self.failures else 0.0
        self._restart_in(pause, now, code)

    def _restart_in(self, pause: float, now: float, code: int) -> None:
        self.restart_at = now + pause
        self.process = None
        log.warning("process.died", name=self.program.name, code=code, restart_in_s=pause)

    def judge(self, why: str | None, now: float, patience_s: float) -> None:
        """Note that the process does its work (`why` is None), or why not.

        One that has not for `patience_s` gets SIGTERM, and is killed if it does not stop; `tend` starts it
        again, after a pause that grows as long as it keeps being of no use.
        """
        if why is None:
            self.useless_since, self.useless_times = None, 0
            return
        if self.process is None or self.kill_at is not None:
            return
        if self.useless_since is None:
            self.useless_since = now
        if now - self.useless_since < patience_s:
            return
        self.useless_times += 1
        self.kill_at = now + self._stop_s
        log.warning("process.useless", name=self.program.name, reason=why)
        self.process.terminate()

    def give_time(self) -> None:
        """Forget since when it does no work: nothing can be said of it now."""
        self.useless_since = None

    def stop(self) -> None:
        if self.process is None or self.process.poll() is not None:
            return
        self.process.terminate()
        try:
            self.process.wait(self._stop_s)
        except subprocess.TimeoutExpired:
            log.warning("process.killed", name=self.program.name)
            self.process.kill()
            self.process.wait()


def _heartbeat_of(pid: int, uptime_s: float, heartbeats: Sequence[Process]) -> Process | None:
    """The heartbeat of a process of ours; none of one that had the same id before it."""
    ours = [one for one in heartbeats if one.pid == pid and one.started_s <= uptime_s + CLOCKS_S]
    return min(ours, key=lambda one: one.beat_s, default=None)


def _has_worked(heartbeat: Process | None) -> bool:
    return heartbeat is not None and heartbeat.worked_s is not None


class Supervisor:
    """Keeps programs running between `start` and `stop`; a context manager."""

    def __init__(
        self,
        programs: Sequence[Program],
        *,
        shutdown_s: float,
        log_dir: Path | None = None,
        look: Look | None = None,
        max_age_s: float = 60.0,
    ) -> None:
        """`shutdown_s` is what a worker gives its batches when it stops: a process that still lives
        `STOP_MARGIN_S` after that is killed.

        `log_dir`, in the data directory, takes the output of each program; without it they share ours.

        `look` reads the heartbeats of this host. What lives without working is restarted: what has
        shown no work for `max_age_s`, seen for another `max_age_s`.
        """
        self._log_dir = log_dir
        self._look = look
        self._max_age_s = max_age_s
        self._look_at = time.monotonic() + max_age_s / 2
        self._files: list[IO[bytes]] = []
        stop_s = shutdown_s + STOP_MARGIN_S
        self._kept = [_Kept(program, self._open_log(program), stop_s) for program in programs]

    def _open_log(self, program: Program) -> IO[bytes] | None:
        if self._log_dir is None:
            return None
        with usable(self._log_dir.parent):
            self._log_dir.mkdir(parents=True, exist_ok=True)
            file = (self._log_dir / f"{program.name}.log").open("ab")
        self._files.append(file)
        return file

    def start(self) -> None:
        """Start every program, in order."""
        for kept in self._kept:
            kept.start(time.monotonic())
            log.info("process.started", name=kept.program.name)

    def tend(self) -> None:
        """Restart what died, and what lives without working. Call it every second or so."""
        for kept in self._kept:
            kept.tend(time.monotonic())
        if self._look is not None and time.monotonic() >= self._look_at:
            self._judge(self._look)

    def _judge(self, look: Look) -> None:
        heartbeats = look()
        now = time.monotonic()
        self._look_at = now + self._max_age_s / 6
        for kept in self._kept:
            if heartbeats is None:
                kept.give_time()
            elif kept.process is not None:
                uptime_s = now - kept.started_at
                heartbeat = _heartbeat_of(kept.process.pid, uptime_s, heartbeats)
                why = why_useless(heartbeat, uptime_s=uptime_s, max_age_s=self._max_age_s)
                if why is not None or _has_worked(heartbeat):
                    kept.judge(why, now, self._max_age_s)

    def stop(self) -> None:
        """Stop every program, the last started first; a second call does nothing."""
        for kept in reversed(self._kept):
            kept.stop()
        for file in self._files:
            file.close()

    @property
    def pids(self) -> dict[str, int]:
        """The process ids of the programs that run."""
        return {
            kept.program.name: kept.process.pid
            for kept in self._kept
            if kept.process is not None and kept.process.poll() is None
        }

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()
