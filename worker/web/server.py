"""The server: uvicorn in this process, on a socket that is bound already."""

from __future__ import annotations

import http.client
import socket
import time
from typing import Final

import uvicorn
from litestar.types import ASGIApp

from worker.db.heartbeats import Sign
from worker.processes.ports import base_url
from worker.web.protocol import Protocol

KEEP_ALIVE_S: Final = 20
"""So long a connection stays open between two requests."""

MOST_CONNECTIONS: Final = 500
"""Where as many are open, a request is answered by 503."""

GRACE_S: Final = 10
"""So long requests that are at work may take when the process is asked to stop."""

ANSWER_S: Final = 5.0


def make_server(app: ASGIApp) -> uvicorn.Server:
    """A server of this application; `run(sockets=[…])` serves until SIGTERM or Ctrl-C.

    It says nothing of its own: the application logs what fails.
    """
    config = uvicorn.Config(
        app,
        http=Protocol,
        ws="none",
        loop="asyncio",
        lifespan="on",
        log_config=None,
        log_level="error",
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_keep_alive=KEEP_ALIVE_S,
        limit_concurrency=MOST_CONNECTIONS,
        timeout_graceful_shutdown=GRACE_S,
    )
    return uvicorn.Server(config)


class Work:
    """What the server can say of its work: it asks itself whether it is ready, as a probe does."""

    def __init__(self, bound: socket.socket) -> None:
        address, port = bound.getsockname()[:2]
        self._base = base_url(address, port).removeprefix("http://")

    def sign(self) -> Sign:
        """What there is to say now."""
        began = time.monotonic()
        problem = self._unready()
        if problem:
            return Sign(None, problem=problem)
        return Sign(time.monotonic() - began, "it answers, and reads the database")

    def _unready(self) -> str | None:
        connection = http.client.HTTPConnection(self._base, timeout=ANSWER_S)
        try:
            connection.request("GET", "/health/ready")
            status = connection.getresponse().status
        except (OSError, http.client.HTTPException) as error:
            return f"it is not answered: {str(error) or type(error).__name__}"
        finally:
            connection.close()
        return None if status == http.client.OK else f"/health/ready answers {status}"
