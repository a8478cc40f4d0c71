"""A server on loopback that takes webhooks, well or badly, as a test says."""

from __future__ import annotations

import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import msgspec

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


class Got(msgspec.Struct, frozen=True):
    """A request that came in."""

    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return msgspec.json.decode(self.body)


class Handler(BaseHTTPRequestHandler):
    """Keeps the request, then does what the test says."""

    protocol_version = "HTTP/1.1"
    server: _Server

    def do_POST(self) -> None:
        owner = self.server.owner
        body = self.rfile.read(int(self.headers["Content-Length"]))
        headers = {name.lower(): value for name, value in self.headers.items()}
        owner.got.append(Got(self.path, headers, body))
        owner.acts(self)

    def do_GET(self) -> None:
        self.server.owner.got.append(Got(f"GET {self.path}", {}, b""))
        self.reply(200)

    def reply(self, status: int, body: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Nothing."""


Acts = Callable[[Handler], None]


class _Server(ThreadingHTTPServer):
    owner: HookServer
    daemon_threads = True
    block_on_close = False

    def handle_error(self, *_: object) -> None:
        """A client that went away is what many tests are about."""


class HookServer:
    """A server that answers each request by `acts`."""

    def __init__(self, acts: Acts | None = None) -> None:
        self.acts: Acts = acts or answers(204)
        self.got: list[Got] = []
        self.closing = threading.Event()
        self._http = _Server(("127.0.0.1", 0), Handler)
        self._http.owner = self
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.01,))

    @property
    def port(self) -> int:
        return int(self._http.server_address[1])

    @property
    def url(self) -> str:
        """An address with a secret in it, as Slack's are."""
        return f"http://127.0.0.1:{self.port}/services/T0P5ECRET"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self.closing.set()
        self._http.shutdown()
        self._thread.join()
        self._http.server_close()


def answers(status: int, body: bytes = b"", **headers: str) -> Acts:
    """Every request gets this."""
    return lambda handler: handler.reply(status, body, **headers)


def hangs(handler: Handler) -> None:
    """No answer, until the test is over."""
    handler.server.owner.closing.wait(60)


def dribbles(handler: Handler) -> None:
    """A header now and then, for ever: each silence is short."""
    handler.wfile.write(b"HTTP/1.1 200 OK\r\n")
    while not handler.server.owner.closing.wait(0.05):
        handler.wfile.write(b"X-Filler: x\r\n")
        handler.wfile.flush()


def closes_early(handler: Handler) -> None:
    """The connection ends in the middle of the status."""
    handler.wfile.write(b"HTTP/1.1 2")
    handler.close_connection = True


def talks_nonsense(handler: Handler) -> None:
    """What comes back is no HTTP."""
    handler.wfile.write(b"\x16\x03\x01 220 mail.example ESMTP\r\n\r\n" * 40)
    handler.close_connection = True


def floods(handler: Handler) -> None:
    """A body without an end."""
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    while not handler.server.owner.closing.is_set():
        handler.wfile.write(b"10000\r\n" + b"x" * 0x10000 + b"\r\n")


class Desk:
    """A directory with the file of channels and their secrets."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.path = directory / "channels.toml"
        self.path.write_text("")
        self.keep("secret", SECRET)

    def keep(self, name: str, held: str) -> str:
        """Write a file with a secret; returns its name."""
        (self.directory / name).write_text(held)
        return name

    def add(self, name: str, kind: str, url: str, **more: Any) -> Self:
        """Add a channel."""
        keys = {"name": name, "kind": kind, "url_file": self.keep(f"{name}_url", url), **more}
        if kind == "webhook":
            keys.setdefault("secret_file", "secret")
        lines = [f"{key} = {msgspec.json.encode(value).decode()}" for key, value in keys.items()]
        self.path.write_text("\n".join([self.path.read_text(), "[[channel]]", *lines, ""]))
        return self
