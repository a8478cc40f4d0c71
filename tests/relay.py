"""A relay before a server: it cuts connections, refuses them, or stops forwarding without a word."""

from __future__ import annotations

import selectors
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final
from urllib.parse import parse_qs, urlsplit

_CHUNK: Final = 65_536

Target = tuple[str, int] | str
"""Where the server is: host and port, or the path of its socket."""


def target_of(url: str) -> Target:
    """Where a URL of ours leads.

    >>> target_of("redis://:x@cache/0"), target_of("unix:///run/r.sock?db=1")
    (('cache', 6379), '/run/r.sock')
    >>> target_of("postgresql://me@/d?host=/run/pg&port=5433")
    '/run/pg/.s.PGSQL.5433'
    """
    parts = urlsplit(url)
    if parts.scheme == "unix":
        return parts.path
    port = parts.port or {"redis": 6379, "amqp": 5672}.get(parts.scheme, 5432)
    given = parse_qs(parts.query)
    if directory := given.get("host", [""])[0]:
        return str(Path(directory, f".s.PGSQL.{given.get('port', ['5432'])[0]}"))
    return parts.hostname or "127.0.0.1", port


class Relay:
    """Forwards bytes between clients and one server, until told otherwise."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self._lock = threading.Lock()
        self._pairs: list[tuple[socket.socket, socket.socket]] = []
        self._selector = selectors.DefaultSelector()
        self._refuses = False
        self._over = False
        self._deaf: set[socket.socket] = set()
        self._listener = self._listen(0)
        self.port: int = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._run, name="relay", daemon=True)
        self._thread.start()

    def cut(self) -> int:
        """Close every connection, at both ends; returns how many there were."""
        with self._lock:
            pairs = list(self._pairs)
            for pair in pairs:
                self._close(pair)
        return len(pairs)

    def go_deaf(self) -> int:
        """Forward nothing more of the connections that are there, and close none; new ones work."""
        with self._lock:
            self._deaf |= {end for pair in self._pairs for end in pair}
            for end in self._deaf:
                self._unwatch(end)
            return len(self._pairs)

    def refuse(self) -> None:
        """Cut, and refuse new connections, as a server that restarts does."""
        with self._lock:
            self._refuses = True
            self._unwatch(self._listener)
            self._listener.close()
        self.cut()

    def accept(self) -> None:
        """Take connections again."""
        with self._lock:
            self._refuses = False
            self._listener = self._listen(self.port)

    @property
    def connections(self) -> int:
        """How many are forwarded now."""
        with self._lock:
            return sum(1 for one, _ in self._pairs if one not in self._deaf)

    def close(self) -> None:
        """End it."""
        self._over = True
        self._thread.join()
        self.cut()
        self._listener.close()
        self._selector.close()

    def _listen(self, port: int) -> socket.socket:
        listener = socket.create_server(("127.0.0.1", port))
        self._selector.register(listener, selectors.EVENT_READ)
        return listener

    def _run(self) -> None:
        while not self._over:
            if not self._selector.get_map():
                threading.Event().wait(0.02)
                continue
            for key, _ in self._selector.select(0.05):
                with self._lock:
                    if key.fileobj is self._listener:
                        self._connect()
                    elif isinstance(key.fileobj, socket.socket) and key.data is not None:
                        self._forward(key.fileobj, key.data)

    def _connect(self) -> None:
        if self._refuses:
            return
        client, _ = self._listener.accept()
        try:
            server = self._reach()
        except OSError:
            client.close()
            return
        self._pairs.append((client, server))
        self._selector.register(client, selectors.EVENT_READ, server)
        self._selector.register(server, selectors.EVENT_READ, client)

    def _reach(self) -> socket.socket:
        if isinstance(self._target, str):
            server = socket.socket(socket.AF_UNIX)
            server.connect(self._target)
            return server
        return socket.create_connection(self._target, timeout=5)

    def _forward(self, source: socket.socket, sink: socket.socket) -> None:
        if source in self._deaf or source.fileno() < 0:  # closed meanwhile
            return
        try:
            data = source.recv(_CHUNK)
            if data:
                sink.sendall(data)
                return
        except OSError:
            pass
        for pair in self._pairs:
            if source in pair:
                self._close(pair)
                return

    def _unwatch(self, end: socket.socket) -> None:
        if end.fileno() >= 0 and end.fileno() in {key.fd for key in self._watched()}:
            self._selector.unregister(end)

    def _watched(self) -> list[selectors.SelectorKey]:
        return list(self._selector.get_map().values())

    def _close(self, pair: tuple[socket.socket, socket.socket]) -> None:
        for end in pair:
            self._unwatch(end)
            self._deaf.discard(end)
            end.close()
        if pair in self._pairs:
            self._pairs.remove(pair)


@contextmanager
def relayed(url: str) -> Iterator[tuple[str, Relay]]:
    """A relay before the server of a URL: (the URL that leads through it, the relay)."""
    relay = Relay(target_of(url))
    try:
        yield through(url, relay.port), relay
    finally:
        relay.close()


def through(url: str, port: int) -> str:
    """A URL that leads to the same database, queue and user by way of a port of this machine."""
    parts = urlsplit(url)
    credentials = parts.netloc.rpartition("@")[0]
    where = f"{credentials}@127.0.0.1:{port}" if credentials else f"127.0.0.1:{port}"
    given = parse_qs(parts.query)
    if parts.scheme == "unix":
        return f"redis://{where}/{given.get('db', ['0'])[0]}"
    kept = "&".join(f"{k}={v[0]}" for k, v in given.items() if k not in ("host", "port"))
    return parts._replace(netloc=where, query=kept).geturl()
