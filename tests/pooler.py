"""Poolers between us and PostgreSQL: one that minds start-up options, and PgBouncer itself."""

from __future__ import annotations

import os
import shutil
import socket
import struct
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Literal

import psycopg
import sqlalchemy as sa

from tests.live import eventually
from worker.db.engine import database_url

Mind = Literal["ignores", "refuses"]

_TLS, _GSS = 80877103, 80877104


def upstream(url: str) -> tuple[str, int, sa.URL]:
    """Where a database's server listens: host or directory, port."""
    read = database_url(url)
    host = read.query.get("host") or read.host or "127.0.0.1"
    assert isinstance(host, str)
    port = read.query.get("port") or read.port or 5432
    return host, int(str(port)), read


def through(url: sa.URL, port: int) -> str:
    """The URL of the same database, by way of a port of this machine."""
    there = url.difference_update_query(["host", "port"]).set(host="127.0.0.1", port=port)
    return there.set(drivername="postgresql").render_as_string(hide_password=False)


@contextmanager
def minding(url: str, mind: Mind) -> Iterator[str]:
    """A relay to a database's server that ignores or refuses start-up options; gives its URL."""
    host, port, read = upstream(url)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=_accept, args=(listener, host, port, mind), daemon=True).start()
        try:
            yield through(read, listener.getsockname()[1])
        finally:
            listener.shutdown(socket.SHUT_RDWR)


def _accept(listener: socket.socket, host: str, port: int, mind: Mind) -> None:
    while True:
        try:
            client, _ = listener.accept()
        except OSError:
            return
        threading.Thread(target=_serve, args=(client, host, port, mind), daemon=True).start()


def _serve(client: socket.socket, host: str, port: int, mind: Mind) -> None:
    with client, suppress(OSError):
        code, body = _packet(client)
        while code in (_TLS, _GSS):
            client.sendall(b"N")
            code, body = _packet(client)
        words = body.rstrip(b"\0").split(b"\0")
        given = dict(zip(words[::2], words[1::2], strict=False))
        if given.pop(b"options", b"") and mind == "refuses":
            said = b"SFATAL\0C08P01\0Munsupported startup parameter: options\0\0"
            client.sendall(b"E" + struct.pack("!i", len(said) + 4) + said)
            return
        body = b"".join(key + b"\0" + value + b"\0" for key, value in given.items()) + b"\0"
        with _connected(host, port) as server:
            server.sendall(struct.pack("!ii", len(body) + 8, code) + body)
            back = threading.Thread(target=_copy, args=(server, client), daemon=True)
            back.start()
            _copy(client, server)
            back.join()


def _packet(client: socket.socket) -> tuple[int, bytes]:
    length, code = struct.unpack("!ii", client.recv(8, socket.MSG_WAITALL))
    return code, client.recv(length - 8, socket.MSG_WAITALL)


def _connected(host: str, port: int) -> socket.socket:
    if not host.startswith("/"):
        return socket.create_connection((host, port))
    server = socket.socket(socket.AF_UNIX)
    server.connect(f"{host}/.s.PGSQL.{port}")
    return server


def _copy(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
    with suppress(OSError):
        target.shutdown(socket.SHUT_WR)


PGBOUNCER = shutil.which(
    "pgbouncer", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin"
)


@contextmanager
def pgbouncer(url: str, *, ignore: bool) -> Iterator[str]:
    """PgBouncer in front of a database, pooling by transaction; gives its URL.

    With `ignore` it ignores start-up options, else it refuses them.
    """
    assert PGBOUNCER is not None
    host, port, read = upstream(url)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        own = int(probe.getsockname()[1])
    where = f"host={host} port={port} dbname={read.database} user={read.username}"
    password = f" password={read.password}" if read.password else ""
    directory = Path(tempfile.mkdtemp(prefix="flowshift-pgbouncer-"))
    config = directory / "pgbouncer.ini"
    config.write_text(
        f"[databases]\n{read.database} = {where}{password}\n[pgbouncer]\n"
        f"listen_addr = 127.0.0.1\nlisten_port = {own}\nunix_socket_dir =\nauth_type = any\n"
        "pool_mode = transaction\ndefault_pool_size = 4\nlogfile = \npidfile = \n"
        f"ignore_startup_parameters = extra_float_digits{',options' if ignore else ''}\n"
    )
    directory.chmod(0o755)
    config.chmod(0o644)
    as_nobody = {"user": "nobody", "group": "nogroup"} if os.geteuid() == 0 else {}
    with (directory / "log").open("wb") as log:
        process = subprocess.Popen(
            [PGBOUNCER, str(config)],
            stdout=log,
            stderr=log,
            cwd="/",
            **as_nobody,  # type: ignore[call-overload]
        )
    try:
        there = through(read, own)
        eventually(lambda: _answers(there) or process.poll() is not None, 20)
        assert process.poll() is None, (directory / "log").read_text()
        yield there
    finally:
        process.terminate()
        process.wait()
        shutil.rmtree(directory)


def _answers(url: str) -> bool:
    try:
        psycopg.connect(url).close()
    except psycopg.OperationalError:
        return False
    return True
