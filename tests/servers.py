"""PostgreSQL and Redis of a test's own, to be stopped, killed and frozen as it likes."""

from __future__ import annotations

import dataclasses
import os
import shutil
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import psycopg
import pytest
import redis

from migrations import upgrade
from tests.live import eventually
from worker.db.engine import create_engine, database_url
from worker.servers.embedded.binaries import Binaries
from worker.servers.embedded.paths import Home, prepare_home
from worker.servers.embedded.server import Server
from worker.servers.embedded.servers import Postgres, Redis
from worker.servers.embedded.state import DataDir

Mode = Literal["fast", "immediate"]

_MODES: dict[Mode, signal.Signals] = {"fast": signal.SIGINT, "immediate": signal.SIGQUIT}


class _Private:
    """A server process: started, ended and waited for."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self.url = server.url
        server.create()

    def start(self) -> None:
        """Start it; returns when it answers."""
        self._server.start()
        eventually(self._server.is_ready)

    @property
    def pid(self) -> int:
        """The main process."""
        assert self._server.pid is not None
        return self._server.pid

    def end(self, kind: signal.Signals) -> None:
        """Send a signal that ends it; returns when it has."""
        self.signal(kind)
        eventually(lambda: self._server.exit_code is not None)

    def signal(self, kind: signal.Signals) -> None:
        """Send a signal."""
        assert self._server.pid is not None
        if self._server.exit_code is None:
            os.kill(self._server.pid, kind)

    def close(self) -> None:
        """End it for good, in whatever state it is, at once: nothing of it is needed any more."""
        self.signal(signal.SIGCONT)
        self.signal(signal.SIGQUIT)
        self._server.stop()


class PrivatePostgres(_Private):
    """A PostgreSQL that nobody else uses."""

    def __init__(self, home: Home, log_dir: Path) -> None:
        super().__init__(Postgres(home, log_dir))

    def restart(self, mode: Mode) -> None:
        """Stop it as `pg_ctl stop -m MODE` does and start it again."""
        self.end(_MODES[mode])
        self.start()

    def make_database(self, name: str) -> str:
        """A new database with our tables in it; returns its URL."""
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}")
        url = database_url(self.url).set(database=name, drivername="postgresql")
        shown = url.render_as_string(hide_password=False)
        engine = create_engine(
            database_url(shown),
            lock_timeout_ms=5_000,
            statement_timeout_ms=60_000,
            application_name="flowshift tests",
        )
        upgrade.upgrade(engine)
        engine.dispose()
        return shown


INSTALLED = max(Path("/usr/lib/postgresql").glob("1[4-9]/bin"), default=None)
"""The programs of PostgreSQL of the system's packages (Debian's), 14 or newer, if there are any."""


class _Programs(Binaries):
    """Those, in the place of the embedded ones."""

    @property
    def initdb(self) -> Path:
        assert INSTALLED is not None
        return INSTALLED / "initdb"

    @property
    def postgres(self) -> Path:
        assert INSTALLED is not None
        return INSTALLED / "postgres"


class _Installed(Postgres):
    """A server of those programs, which may know no built-in locales yet."""

    def _run(self, command: list[str], *, stdin: bytes = b"") -> None:
        super()._run([part for part in command if "builtin" not in part], stdin=stdin)


class InstalledPostgres(PrivatePostgres):
    """A PostgreSQL of the system's packages that nobody else uses."""

    def __init__(self, directory: Path) -> None:
        data = DataDir.create(directory)
        home = prepare_home(data)
        programs = _Programs(home.binaries.postgres_package, home.binaries.redis_package)
        home = dataclasses.replace(home, binaries=programs)
        _Private.__init__(self, _Installed(home, data.log_dir))


class _Standby(Postgres):
    """A replica, made by pg_basebackup; it says `standby` where a primary says `ready`."""

    def __init__(self, home: Home, log_dir: Path, primary: str) -> None:
        super().__init__(home, log_dir)
        self._primary = primary

    def create(self) -> None:
        program = self.home.binaries.initdb.with_name("pg_basebackup")
        if not program.exists():
            pytest.skip("these binaries of PostgreSQL have no pg_basebackup")
        self.home.make_private(self.directory)
        self._run(
            [str(program), "-D", str(self.directory), "-d", self._primary, "-R", "-c", "fast"]
        )

    def is_ready(self) -> bool:
        try:
            with psycopg.connect(self.url, connect_timeout=2):
                return True
        except psycopg.OperationalError:
            return False


class PrivateStandby(_Private):
    """A streaming replica of a private PostgreSQL, in a data directory of its own."""

    def __init__(self, directory: Path, primary: PrivatePostgres) -> None:
        data = DataDir.create(directory)
        super().__init__(_Standby(prepare_home(data), data.log_dir, primary.url))


class PrivateRedis(_Private):
    """A Redis that nobody else uses, which keeps what it has on disk."""

    def __init__(self, home: Home, log_dir: Path) -> None:
        self._directory = home.directory / "redis"
        super().__init__(Redis(home, log_dir))

    def restart(self) -> None:
        """Stop it in good order and start it with what it had."""
        self.end(signal.SIGTERM)
        self.start()

    def lose_everything(self) -> None:
        """Kill it and remove what it had on disk; start it again after that."""
        self.end(signal.SIGKILL)
        for path in self._directory.iterdir():
            shutil.rmtree(path) if path.is_dir() else path.unlink()

    def set_memory(self, max_bytes: int) -> None:
        """Let it refuse every write beyond so many bytes; 0 is no limit."""
        with redis.Redis.from_url(self.url) as client:
            client.config_set("maxmemory", max_bytes)


class PrivateServers:
    """Both, in one data directory."""

    def __init__(self, directory: Path) -> None:
        data = DataDir.create(directory)
        home = prepare_home(data)
        self.postgres = PrivatePostgres(home, data.log_dir)
        self.redis = PrivateRedis(home, data.log_dir)


@contextmanager
def private_servers(directory: Path) -> Iterator[PrivateServers]:
    """Both, running; ended at the end."""
    servers = PrivateServers(directory)
    try:
        servers.postgres.start()
        servers.redis.start()
        yield servers
    finally:
        servers.redis.close()
        servers.postgres.close()
