"""A server on loopback that speaks OpenAI's protocol, well or badly, as a test scripts it."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

Json = dict[str, Any]


class Request:
    """What a client sent."""

    def __init__(self, path: str, headers: dict[str, str], body: Json) -> None:
        self.path = path
        self.headers = headers
        self.body = body


class Handler(BaseHTTPRequestHandler):
    """Keeps the request, then does what the script says."""

    protocol_version = "HTTP/1.1"
    server: _Server

    def do_POST(self) -> None:
        owner = self.server.owner
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        headers = {name.lower(): value for name, value in self.headers.items()}
        owner.next_step(Request(self.path, headers, body))(self)

    def reply(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Nothing."""


Step = Callable[[Handler], None]


class _Server(ThreadingHTTPServer):
    owner: ModelServer

    def handle_error(self, *_: object) -> None:
        """A client that went away is what many tests are about."""


class ModelServer:
    """One endpoint. Each request takes the next step of its script; the last one is repeated."""

    def __init__(self) -> None:
        self._http = _Server(("127.0.0.1", 0), Handler)
        self._http.owner = self
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.01,))
        self._lock = threading.Lock()
        self._steps: list[Step] = [answers("fine")]
        self.requests: list[Request] = []
        self.closing = threading.Event()
        self.left_alone = threading.Event()
        """Set once a client has gone in the middle of a dribbled answer."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._http.server_address[1]}/v1"

    def script(self, *steps: Step) -> Self:
        with self._lock:
            self._steps = list(steps)
        return self

    def next_step(self, request: Request) -> Step:
        with self._lock:
            self.requests.append(request)
            return self._steps.pop(0) if len(self._steps) > 1 else self._steps[0]

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.closing.set()
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()


# -- steps -----------------------------------------------------------------------------------------


def completion(content: object = "fine", **keys: Any) -> Json:
    """A chat completion as OpenAI sends it."""
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1_790_000_000,
        "model": "served",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": content},
                "finish_reason": "stop",
            }
        ],
        "usage": {"prompt_tokens": 7, "completion_tokens": 5, "total_tokens": 12},
        **keys,
    }


def answers(content: object = "fine", **keys: Any) -> Step:
    return sends(json.dumps(completion(content, **keys)).encode())


def sends(body: bytes, **headers: str) -> Step:
    """A body with status 200."""
    return lambda handler: handler.reply(200, body, {"Content-Type": "application/json", **headers})


def refuses(status: int, error: Json | None = None, **headers: str) -> Step:
    """A status with an error body; `retry_after="1"` is the header Retry-After."""
    body = json.dumps({"error": error or {"message": "no"}}).encode()
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return lambda handler: handler.reply(
        status, body, {"Content-Type": "application/json", **named}
    )


def hangs(handler: Handler) -> None:
    """Takes the request and says nothing."""
    handler.server.owner.closing.wait()


def dribbles_headers(handler: Handler) -> None:
    """Begins its headers and never gets to their end."""
    handler.wfile.write(b"HTTP/1.1 200 OK\r\n")
    _dribble(handler, b"X-Wait: 1\r\n")


def dribbles_body(handler: Handler) -> None:
    """Sends its body a blank at a time."""
    handler.send_response(200)
    handler.send_header("Content-Length", "1000000")
    handler.end_headers()
    _dribble(handler, b" ")


def cuts(handler: Handler) -> None:
    """Ends in the middle of its body."""
    handler.send_response(200)
    handler.send_header("Content-Length", "1000")
    handler.end_headers()
    handler.wfile.write(b'{"choices": [')
    handler.wfile.flush()
    handler.connection.shutdown(socket.SHUT_RDWR)
    handler.close_connection = True


def cuts_at_once(handler: Handler) -> None:
    """Ends before a word."""
    handler.connection.shutdown(socket.SHUT_RDWR)
    handler.close_connection = True


def floods(handler: Handler) -> None:
    """Sends more than anybody asked for, until the client goes."""
    handler.send_response(200)
    handler.send_header("Connection", "close")
    handler.end_headers()
    _pour(handler)


def floods_with_500(handler: Handler) -> None:
    handler.send_response(500)
    handler.send_header("Connection", "close")
    handler.end_headers()
    _pour(handler)


def _pour(handler: Handler) -> None:
    owner = handler.server.owner
    handler.close_connection = True
    try:
        while not owner.closing.is_set():
            handler.wfile.write(b" " * 65_536)
    except OSError:
        owner.left_alone.set()


def _dribble(handler: Handler, drop: bytes) -> None:
    owner = handler.server.owner
    handler.close_connection = True
    try:
        while not owner.closing.wait(0.01):
            handler.wfile.write(drop)
            handler.wfile.flush()
    except OSError:
        owner.left_alone.set()
