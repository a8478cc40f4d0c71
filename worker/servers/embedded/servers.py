"""The two servers: how each is created, started, found ready, and stopped.

Both listen on a Unix socket in a private directory and on nothing else. Both write to disk before
they answer: PostgreSQL with fsync, Redis to its append-only file, synced every second.
"""

from __future__ import annotations

import shutil
import signal
import socket
import tempfile
from pathlib import Path
from typing import ClassVar

from worker.servers.embedded.server import Server


class Postgres(Server):
    """PostgreSQL; the database and its superuser are both `flowshift`."""

    name = "postgres"
    process_name = "postgres"
    pid_file = "postmaster.pid"
    # Fast: disconnects clients, writes a checkpoint. Immediate: recovers at the next start.
    stop_signals = ((signal.SIGINT, 60.0), (signal.SIGQUIT, 5.0), (signal.SIGKILL, 5.0))

    _SETTINGS: ClassVar[dict[str, str]] = {
        "listen_addresses": "",
        "port": "5432",  # the socket's name
        "unix_socket_permissions": "0700",
        "max_connections": "100",
        "shared_buffers": "128MB",
        "max_wal_size": "1GB",
        # Not "$user" first: the role has the name of our schema, and bots are the platform's.
        "search_path": "public",
        "timezone": "UTC",
        "log_timezone": "UTC",
        "log_checkpoints": "off",
        # Statements and details hold rows: workflow bodies stay out of the log.
        "log_min_error_statement": "panic",
        "log_error_verbosity": "terse",
    }

    @property
    def url(self) -> str:
        # The port is named because libpq would take another from PGPORT.
        return f"postgresql://flowshift@/flowshift?host={self.home.run_dir}&port=5432"

    def create(self) -> None:
        if self.directory.exists():
            return
        for unfinished in self.home.directory.glob("postgres.new-*"):
            shutil.rmtree(unfinished)
        new = Path(tempfile.mkdtemp(prefix="postgres.new-", dir=self.home.directory))
        self.home.hand_over(new)
        initdb = [str(self.home.binaries.initdb), "-D", str(new), "--username=flowshift"]
        # The builtin provider orders by code point on every machine; libc's locales differ.
        initdb += ["--encoding=UTF8", "--locale=C"]
        initdb += ["--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
        self._run([*initdb, "--auth=trust", "--no-instructions"])
        alone = [str(self.home.binaries.postgres), "--single", "-D", str(new)]
        self._run(
            [*alone, "-c", "exit_on_error=true", "postgres"], stdin=b"CREATE DATABASE flowshift;\n"
        )
        new.rename(self.directory)

    def command(self) -> list[str]:
        settings = self._SETTINGS | {"unix_socket_directories": str(self.home.run_dir)}
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        return [str(self.home.binaries.postgres), "-D", str(self.directory), *options]

    def is_ready(self) -> bool:
        try:
            lines = (self.directory / self.pid_file).read_text().splitlines()
        except OSError:
            return False
        return lines[:1] == [str(self.pid)] and lines[7:8] != [] and lines[7].strip() == "ready"


class Redis(Server):
    """Redis with its append-only file; a file cut short by a crash is loaded as far as it goes."""

    name = "redis"
    process_name = "redis-server"
    pid_file = "redis.pid"
    stop_signals = ((signal.SIGTERM, 30.0), (signal.SIGKILL, 5.0))

    @property
    def url(self) -> str:
        return f"unix://{self._socket}?db=0"

    @property
    def _socket(self) -> Path:
        return self.home.run_dir / "redis.sock"

    def create(self) -> None:
        self.home.make_private(self.directory)

    def command(self) -> list[str]:
        settings = {
            "port": "0",
            "unixsocket": str(self._socket),
            "unixsocketperm": "700",
            "dir": str(self.directory),
            "pidfile": str(self.directory / self.pid_file),
            "daemonize": "no",
            "save": "",
            "appendonly": "yes",
            "appendfsync": "everysec",
            "maxmemory-policy": "noeviction",
        }
        options = [part for name, value in settings.items() for part in (f"--{name}", value)]
        return [str(self.home.binaries.redis_server), *options]

    def is_ready(self) -> bool:
        """It says LOADING until the append-only file is read."""
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(1)
            try:
                client.connect(str(self._socket))
                client.sendall(b"PING\r\n")
                return client.recv(7) == b"+PONG\r\n"
            except OSError:
                return False
