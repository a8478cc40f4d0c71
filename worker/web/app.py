"""The application: the handlers of every room, with what they work with."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Final

import sqlalchemy as sa
from litestar import Litestar
from litestar.di import Provide

from worker.runtime import Runtime
from worker.web import api, pages, problems
from worker.web.reading import reading_engine

THREADS: Final = 8
"""So many requests work at the same time; each has at most one connection to the database."""

MAX_BODY_BYTES: Final = 8 << 20
"""The largest body of a request: a draft has at most 4 MiB."""


def create_app(current: Runtime) -> Litestar:
    """The application on one runtime, which stays the caller's to close.

    A handler gets by name: `current`, for actions; `reading`, an engine whose transactions cannot
    write, for everything that only shows. What is synchronous runs in one of `THREADS` threads
    (`sync_to_thread=True`).
    """
    reading = reading_engine(current)

    def give_current() -> Runtime:
        return current

    def give_reading() -> sa.Engine:
        return reading

    @asynccontextmanager
    async def life(_: Litestar) -> AsyncIterator[None]:
        with ThreadPoolExecutor(THREADS, "serve") as executor:
            asyncio.get_running_loop().set_default_executor(executor)
            yield
        reading.dispose()

    return Litestar(
        route_handlers=[*api.HANDLERS, *pages.HANDLERS],
        dependencies={
            "current": Provide(give_current, sync_to_thread=False),
            "reading": Provide(give_reading, sync_to_thread=False),
        },
        exception_handlers=problems.HANDLERS,
        lifespan=[life],
        logging_config=None,
        openapi_config=None,
        request_max_body_size=MAX_BODY_BYTES,
    )
