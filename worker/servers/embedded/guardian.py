"""The guardian: parent of both servers, which it starts, restarts and, once unused, stops.

It has one thread and looks around ten times a second: at its servers, at `users.lock`, and at
whether somebody told it to stop.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from types import FrameType

from worker.errors import ConfigError
from worker.log import configure, get_logger
from worker.servers.embedded.locks import Lock
from worker.servers.embedded.paths import prepare_home
from worker.servers.embedded.servers import Postgres, Redis, Server
from worker.servers.embedded.state import DataDir, Endpoints, State

log = get_logger(__name__)

_STARTING_S = 0.02
_WATCHING_S = 0.1
_FIRST_BACKOFF_S = 0.2
_LONGEST_BACKOFF_S = 5.0
_STABLE_S = 60.0
_BOUND_LOGS_EVERY_S = 10.0
_LONGEST_LOG_BYTES = 10_000_000


def main(root: Path, *, lock_fd: int | None = None) -> None:
    """Guard `root` in the background until nobody uses it; returns, at once, never in the guardian.

    `lock_fd` is the held `guardian.lock`, if the starter passed it on.
    """
    if os.fork():
        os._exit(0)  # the starter waits for this process, and must not for the guardian
    _forget_inherited_signals()
    configure(log_format="json")
    data = DataDir(root)
    lock = Lock(data.guardian_lock, inherited_fd=lock_fd)
    if lock.try_take():
        os.chdir(data.root)
        Guardian(data, lock).run()


def _forget_inherited_signals() -> None:
    """A starter may block or ignore signals (nohup, a process pool); the guardian must not."""
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)


class Guardian:
    """One run of the servers of `data`, from their start to their end."""

    def __init__(self, data: DataDir, lock: Lock) -> None:
        self._data = data
        self._lock = lock
        self._users = Lock(data.users_lock)
        self._wards: list[_Ward] = []
        self._run_dir: Path | None = None
        self._told_to_stop = False
        self._published = False
        self._has_run = False
        self._hindrance = ""
        self._logs_bounded_at = 0.0

    def run(self) -> None:
        """Start the servers, watch them, stop them. A failed start is told to the users."""
        for kind in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(kind, self._tell_to_stop)
        failure = ""
        try:
            self._start()
            self._watch()
        except (ConfigError, OSError, subprocess.SubprocessError) as error:
            log.exception("servers.failed")
            failure = str(error)
        finally:
            self._stop(failure)

    def _tell_to_stop(self, _number: int, _frame: FrameType | None) -> None:
        self._told_to_stop = True

    def _start(self) -> None:
        home = prepare_home(self._data)
        self._run_dir = home.run_dir
        self._wards = [_Ward(kind(home, self._data.log_dir)) for kind in (Postgres, Redis)]
        for ward in self._wards:
            ward.server.create()
            ward.start()

    def _watch(self) -> None:
        while not self._reason_to_stop():
            try:
                self._look_around()
            except OSError as error:
                # A full disk, or no memory for a process. Where the servers have run, it may pass.
                if not self._has_run:
                    raise
                self._note_hindrance(error)
            time.sleep(_WATCHING_S if self._published or self._hindrance else _STARTING_S)

    def _look_around(self) -> None:
        if self._look_after_all():
            self._publish()
        elif self._published:
            self._withdraw()
        self._bound_logs()

    def _note_hindrance(self, error: OSError) -> None:
        """Log it once; where the disk is full that line is lost, so that its end is logged too."""
        if self._hindrance != str(error):
            self._hindrance = str(error)
            log.error("servers.hindered", error=self._hindrance)

    def _reason_to_stop(self) -> str:
        if self._told_to_stop:
            return "told to"
        if not self._lock.is_in_place():
            return "data directory removed"
        # Once taken the lock is ours until we are gone, so nobody can attach to what is stopping.
        return "unused" if self._users.try_take() else ""

    def _look_after_all(self) -> bool:
        ready = [ward.look_after() for ward in self._wards]
        return all(ready)

    def _publish(self) -> None:
        if self._published:
            return
        postgres, redis = (ward.server for ward in self._wards)
        self._data.write_state(State(Endpoints(postgres.url, redis.url)))
        self._published = self._has_run = True
        if self._hindrance:
            log.warning("servers.unhindered", error=self._hindrance)
            self._hindrance = ""
        log.info(
            "servers.started", pids={ward.server.name: ward.server.pid for ward in self._wards}
        )

    def _withdraw(self) -> None:
        self._data.write_state(State())
        self._published = False

    def _bound_logs(self) -> None:
        if time.monotonic() - self._logs_bounded_at > _BOUND_LOGS_EVERY_S:
            self._logs_bounded_at = time.monotonic()
            bound_logs(list(self._data.log_dir.glob("*.log")))

    def _stop(self, failure: str) -> None:
        in_place = self._lock.is_in_place()  # if not, the names may be a successor's already
        if in_place:
            self._withdraw()
        for ward in self._wards:
            ward.server.ask_to_stop()
        for ward in self._wards:
            ward.server.stop()
        if in_place and self._run_dir:
            shutil.rmtree(self._run_dir, ignore_errors=True)
        if in_place and failure:
            self._data.write_state(State(failure=failure))
        log.info("servers.stopped", reason="failed" if failure else self._reason_to_stop())


class _Ward:
    """A server with what the guardian remembers of it."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self._was_ready = False
        self._is_ready = False
        self._deaths = 0
        self._started_at = 0.0
        self._restart_at: float | None = None

    def start(self) -> None:
        self.server.start()
        self._started_at = time.monotonic()

    def look_after(self) -> bool:
        """Restart the server if it is time to; whether it is ready.

        Raises:
            ConfigError: it ended before it was ever ready, and would do so again.
        """
        if self.server.exit_code is not None:
            self._is_ready = False
            self._restart()
        elif not self._is_ready:
            self._is_ready = self.server.is_ready()
            self._was_ready |= self._is_ready
        return self._is_ready

    def _restart(self) -> None:
        now = time.monotonic()
        if not self._was_ready:
            raise self.server.failure()
        if self._restart_at is None:
            self._deaths = 1 if now - self._started_at > _STABLE_S else self._deaths + 1
            self._restart_at = now + min(_FIRST_BACKOFF_S * 2**self._deaths, _LONGEST_BACKOFF_S)
            log.error("server.died", server=self.server.name, exit_code=self.server.exit_code)
        elif now >= self._restart_at:
            self._restart_at = None
            self.start()
            log.warning("server.restarted", server=self.server.name, pid=self.server.pid)


def bound_logs(logs: Sequence[Path], longest_bytes: int = _LONGEST_LOG_BYTES) -> None:
    """Keep each log at twice `longest_bytes` at most, the older half in a file beside it.

    The file is emptied, not replaced: its writers have it open, and append.
    """
    for path in logs:
        with suppress(OSError):  # a full disk: the servers have more to say about it
            if path.stat().st_size > longest_bytes:
                shutil.copyfile(path, path.with_name(path.name + ".1"))
                os.truncate(path, 0)
