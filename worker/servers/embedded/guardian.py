"""The guardian: the parent process of both servers. It starts, restarts and, once unused, stops them.

It has one thread and checks ten times a second: its servers, `users.lock`, and whether it received a
stop signal.
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
from worker.servers.data_dir import concerns, unusable
from worker.servers.embedded.locks import Lock
from worker.servers.embedded.paths import prepare_home
from worker.servers.embedded.server import Server
from worker.servers.embedded.servers import Postgres, Redis
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
    """Run the servers of `root` in the background until no process uses them.

    Returns at once in the starter; the guardian is a forked child and never returns. `lock_fd` is the
    taken `guardian.lock`, if the starter passed it on.
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
        self._supervised: list[_Supervised] = []
        self._run_dir: Path | None = None
        self._stop_requested = False
        self._published = False
        self._has_run = False
        self._hindrance = ""
        self._logs_bounded_at = 0.0

    def run(self) -> None:
        """Start the servers, watch them, stop them. Users read a failed start in the state file."""
        for kind in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(kind, self._request_stop)
        failure = ""
        try:
            self._start()
            self._watch()
        except (ConfigError, OSError, subprocess.SubprocessError) as error:
            log.exception("servers.failed")
            failure = self._failure(error)
        finally:
            self._stop(failure)

    def _request_stop(self, _number: int, _frame: FrameType | None) -> None:
        self._stop_requested = True

    def _start(self) -> None:
        home = prepare_home(self._data)
        self._run_dir = home.run_dir
        self._supervised = [
            _Supervised(kind(home, self._data.log_dir)) for kind in (Postgres, Redis)
        ]
        for supervised in self._supervised:
            supervised.server.create()
            supervised.start()

    def _failure(self, error: Exception) -> str:
        root = self._data.root
        if isinstance(error, OSError) and concerns(root, error):
            return str(unusable(root, error))
        return str(error)

    def _watch(self) -> None:
        while not self._reason_to_stop():
            try:
                self._check()
            except OSError as error:
                # A full disk, or no memory for a process: transient if the servers have run before.
                if not self._has_run:
                    raise
                self._note_hindrance(error)
            time.sleep(_WATCHING_S if self._published or self._hindrance else _STARTING_S)

    def _check(self) -> None:
        if self._all_ready():
            self._publish()
        elif self._published:
            self._withdraw()
        self._bound_logs()

    def _note_hindrance(self, error: OSError) -> None:
        """Log it once. With a full disk that line is lost, so its end is logged too."""
        if self._hindrance != str(error):
            self._hindrance = str(error)
            log.error("servers.hindered", error=self._hindrance)

    def _reason_to_stop(self) -> str:
        if self._stop_requested:
            return "stop requested"
        if not self._lock.is_in_place():
            return "data directory removed"
        # Once taken the lock is ours until we exit, so no user can attach to stopping servers.
        return "unused" if self._users.try_take() else ""

    def _all_ready(self) -> bool:
        ready = [supervised.check() for supervised in self._supervised]
        return all(ready)

    def _publish(self) -> None:
        if self._published:
            return
        postgres, redis = (supervised.server for supervised in self._supervised)
        self._data.write_state(State(Endpoints(postgres.url, redis.url)))
        self._published = self._has_run = True
        if self._hindrance:
            log.warning("servers.unhindered", error=self._hindrance)
            self._hindrance = ""
        log.info(
            "servers.started",
            pids={supervised.server.name: supervised.server.pid for supervised in self._supervised},
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
        for supervised in self._supervised:
            supervised.server.ask_to_stop()
        for supervised in self._supervised:
            supervised.server.stop()
        if in_place and self._run_dir:
            shutil.rmtree(self._run_dir, ignore_errors=True)
        if in_place and failure:
            self._data.write_state(State(failure=failure))
        log.info("servers.stopped", reason="failed" if failure else self._reason_to_stop())


class _Supervised:
    """A server and its restarts."""

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

    def check(self) -> bool:
        """Restart the server if it is time to. Returns whether it is ready.

        Raises:
            ConfigError: it ended before it was ever ready, so a restart would end the same way.
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
    """Keep each log at twice `longest_bytes` at most, the older half in a second file.

    The file is truncated, not replaced: its writers have it open, and append.
    """
    for path in logs:
        with suppress(OSError):  # a full disk: the servers report it
            if path.stat().st_size > longest_bytes:
                shutil.copyfile(path, path.with_name(path.name + ".1"))
                os.truncate(path, 0)
