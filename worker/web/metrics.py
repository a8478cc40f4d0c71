"""`/metrics` for Prometheus: what committed rows say, and what this process counts of its requests."""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from http import HTTPMethod
from typing import Any, Final, TypeAlias

from litestar import Request, Response, get
from litestar.di import NamedDependency
from litestar.enums import ScopeType
from litestar.types import ASGIApp, Message, Receive, Scope, Send

from worker.db.measuring.measured import Measured
from worker.progress.exposition import write
from worker.runtime import Runtime
from worker.steps.metrics.reader import MetricsReader

REQUESTS: Final = "flowshift_http_request_duration_seconds"
NO_ROUTE: Final = "none"
"""The route of a request that no handler got: refused at the door, or of an unknown path."""

_METHODS: Final = frozenset(HTTPMethod)


class Scrapes:
    """Answers scrapes: one reading at a time, in a thread of its own, so that they hold up no page."""

    def __init__(self, current: Runtime, requests: Measured) -> None:
        self._reader = MetricsReader.of(current.servers.database_url, current.settings)
        self._requests = requests
        self._executor = ThreadPoolExecutor(1, "metrics")

    async def write(self, accept: str) -> tuple[bytes, str]:
        """The text of all metrics, and its content type, by the header Accept of the request."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._executor, self._write, accept)

    def _write(self, accept: str) -> tuple[bytes, str]:
        found = [*self._reader.read(), *self._requests.look()]
        return write(lambda: found, accept)

    def close(self) -> None:
        """End the thread, and close the reader's connections."""
        self._executor.shutdown()
        self._reader.close()


GivenScrapes: TypeAlias = NamedDependency[Scrapes]


@get("/metrics", include_in_schema=False)
async def metrics(request: Request[Any, Any, Any], scrapes: GivenScrapes) -> Response[bytes]:
    """Every metric, in Prometheus' format or in OpenMetrics', as the header Accept asks.

    With the database away the status is 200 all the same: `flowshift_up` is 0.
    """
    text, content_type = await scrapes.write(request.headers.get("accept", ""))
    return Response(text, media_type=content_type)


class TimedRequests:
    """An ASGI application around another: it times every request, those refused at the door too."""

    def __init__(self, app: ASGIApp, requests: Measured) -> None:
        self._app = app
        self._requests = requests

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, and count it once its answer is sent, or it failed."""
        if scope["type"] != ScopeType.HTTP:
            await self._app(scope, receive, send)
            return
        began, status = time.perf_counter(), 500

        async def noting(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, noting)
        finally:
            self._requests.observe(REQUESTS, time.perf_counter() - began, *_labels(scope, status))


def _labels(scope: Scope, status: int) -> tuple[str, str, str]:
    """Method, route and class of status: never what a client may choose freely."""
    method = str(scope.get("method"))
    route = str(scope.get("path_template") or NO_ROUTE)
    return method if method in _METHODS else "other", route, f"{status // 100}xx"
