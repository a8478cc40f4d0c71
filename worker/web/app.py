"""The application: the handlers of every room, with what they work with."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Any, Final

import sqlalchemy as sa
from litestar import Litestar, Request, Router
from litestar.di import Provide
from litestar.types import ASGIApp

from worker.db.measuring.measured import Measured
from worker.runtime import Runtime
from worker.settings.web import host_names
from worker.web import api, pages
from worker.web.documentation import plugins
from worker.web.doors.credentials import make_entry
from worker.web.doors.csrf import FormTokens
from worker.web.doors.gatekeeper import Gatekeeper
from worker.web.doors.origin import own_hosts
from worker.web.doors.people import Person
from worker.web.doors.rate import Rate
from worker.web.doors.rights import need_right
from worker.web.head import HeadAsGet
from worker.web.metrics import Committing, Scrapes, TimedRequests, metrics
from worker.web.pages import problems
from worker.web.reading import reading_engine

THREADS: Final = 7
"""So many requests work at the same time; each has at most one connection to the database.

With that of the fleet's count, which goes on beside them, they are as many as the engine's pool has.
"""

AnyRequest = Request[Any, Any, Any]

MAX_BODY_BYTES: Final = 8 << 20
"""The largest body of a request: a draft has at most 4 MiB."""


def create_guarded(current: Runtime, address: str) -> ASGIApp:
    """The application with its doors, for a server that listens on `address`.

    Raises:
        ConfigError: everybody could come in from beyond loopback, or the file of users does not fit.
    """
    values, requests = current.settings, Measured()
    guarded = Gatekeeper(
        HeadAsGet(create_app(current, requests)),
        make_entry(values, address),
        own_hosts(host_names(values.web_hosts), address),
        Rate(values.web_rate),
    )
    return TimedRequests(guarded, requests)


def create_app(current: Runtime, requests: Measured | None = None) -> Litestar:
    """The application on one runtime, which stays the caller's to close.

    `requests` is where its requests are measured: they are committed while it runs.

    A handler gets by name what `given` describes. What is synchronous runs in one of `THREADS` threads
    (`sync_to_thread=True`).
    """
    reading = reading_engine(current)
    scrapes, committing = Scrapes(current), Committing(current, requests or Measured())

    def give_current() -> Runtime:
        return current

    def give_reading() -> sa.Engine:
        return reading

    def give_scrapes() -> Scrapes:
        return scrapes

    @asynccontextmanager
    async def life(_: Litestar) -> AsyncIterator[None]:
        # Made before there are threads: two that need them first would make two.
        _ready = current.engine, current.registry
        with ThreadPoolExecutor(THREADS, "serve") as executor:
            asyncio.get_running_loop().set_default_executor(executor)
            committing.start()
            yield
            await asyncio.to_thread(committing.stop)
        reading.dispose()
        scrapes.close()

    return Litestar(
        route_handlers=[*api.HANDLERS, metrics, plugins.style, _pages(current)],
        guards=[need_right],
        dependencies={
            "who": Provide(give_who, sync_to_thread=False),
            "current": Provide(give_current, sync_to_thread=False),
            "reading": Provide(give_reading, sync_to_thread=False),
            "scrapes": Provide(give_scrapes, sync_to_thread=False),
        },
        exception_handlers=problems.HANDLERS,  # also where no route is: a browser gets a page
        lifespan=[life],
        logging_config=None,
        openapi_config=plugins.CONFIG,
        request_max_body_size=MAX_BODY_BYTES,
    )


def give_who(request: AnyRequest) -> Person:
    """Who asks."""
    person: Person = request.user
    return person


def _pages(current: Runtime) -> Router:
    """The pages: each form of theirs needs its token."""
    tokens = FormTokens(current.settings.web_secret)

    def give_token(request: AnyRequest) -> str:
        return tokens.make(request.user.name)

    return Router(
        "/",
        route_handlers=pages.HANDLERS,
        before_request=tokens.check,
        include_in_schema=False,
        dependencies={"csrf_token": Provide(give_token, sync_to_thread=False)},
    )
