"""Whether this process lives, and whether it can answer: for probes, without credentials."""

from __future__ import annotations

import asyncio
from typing import Final, Literal

import msgspec
from litestar import get
from litestar.concurrency import sync_to_thread

from worker.errors import TransientError
from worker.steps.report import latest_run
from worker.web.given import Reading

READY_S: Final = 3.0
"""So long a probe waits for the database."""


class Alive(msgspec.Struct, frozen=True):
    """The process answers."""

    status: Literal["ok"] = "ok"


@get("/health/live", tags=["health"])
async def live() -> Alive:
    """Whether the process lives. It asks no server: a database that is away is no reason to restart it."""
    return Alive()


@get("/health/ready", tags=["health"])
async def ready(reading: Reading) -> Alive:
    """Whether requests can be answered: the database is read. If not, the status is 503."""
    try:
        async with asyncio.timeout(READY_S):
            await sync_to_thread(latest_run, reading)
    except TimeoutError:
        raise TransientError(f"the database did not answer within {READY_S:.0f} s") from None
    return Alive()
