"""`/metrics` for Prometheus, from committed rows; the requests of this process are among them soon."""

from __future__ import annotations

import asyncio
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from http import HTTPMethod
from typing import Any, Final, TypeAlias

import sqlalchemy as sa
from litestar import Request, Response, get
from litestar.di import NamedDependency
from litestar.enums import ScopeType
from litestar.types import ASGIApp, Message, Receive, Scope, Send

from worker.core.metrics.catalogue import REQUESTS
from worker.core.metrics.requests import NO_ROUTE
from worker.db.engine import reason_of
from worker.db.measuring.measured import Measured
from worker.errors import FlowshiftError
from worker.log import get_logger
from worker.progress.exposition import write
from worker.runtime import Runtime
from worker.steps.metrics.reader import MetricsReader, metrics_engine
from worker.steps.metrics.requests import RequestTotals

log = get_logger(__name__)

_METHODS: Final = frozenset(HTTPMethod)


class Scrapes:
    """Answers scrapes: one reading at a time, in a thread of its own, so that they hold up no page."""

    def __init__(self, current: Runtime) -> None:
        self._reader = MetricsReader.of(current.servers.database_url, current.settings)
        self._executor = ThreadPoolExecutor(1, "metrics")

    async def write(self, accept: str) -> tuple[bytes, str]:
        """The text of all metrics, and its content type, by the header Accept of the request."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._executor, self._write, accept)

    def _write(self, accept: str) -> tuple[bytes, str]:
        found = self._reader.read()
        return write(lambda: found, accept)

    def close(self) -> None:
        """End the thread, and close the reader's connections."""
        self._executor.shutdown()
        self._reader.close()


COMMIT_S: Final = 10.0
"""So often the requests of this process are added to those in the database."""

GivenScrapes: TypeAlias = NamedDependency[Scrapes]


@get("/metrics", include_in_schema=False)
async def metrics(request: Request[Any, Any, Any], scrapes: GivenScrapes) -> Response[bytes]:
    """Every metric, in Prometheus' format or in OpenMetrics', as the header Accept asks.

    With the database away the status is 200 all the same: `flowshift_up` is 0.
    """
    text, content_type = await scrapes.write(request.headers.get("accept", ""))
    return Response(text, media_type=content_type)


class Committing:
    """A thread that commits what was measured of requests every `COMMIT_S`, and once more at the end.

    With the database away nothing fails: it is added up, and committed later.
    """

    def __init__(self, current: Runtime, requests: Measured) -> None:
        self._engine = metrics_engine(current.servers.database_url)
        self._totals = RequestTotals(self._engine, requests)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="requests", daemon=True)
        self._was_committed = True

    def start(self) -> None:
        """Begin; returns at once."""
        self._thread.start()

    def stop(self) -> None:
        """Commit the rest, and end."""
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._over.wait(COMMIT_S):
            self._commit()
        self._commit()

    def _commit(self) -> None:
        try:
            self._totals.commit()
        except (FlowshiftError, sa.exc.SQLAlchemyError) as error:
            if self._was_committed:
                log.warning("requests.uncommitted", error=reason_of(error))
            self._was_committed = False
        else:
            self._was_committed = True
        finally:
            self._engine.dispose()  # it holds no connection between


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
