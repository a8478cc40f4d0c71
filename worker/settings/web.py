"""Settings: the process that answers people and programs over HTTP, `flowshift serve`."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from worker.settings.field import text
from worker.settings.gate import Gate


class Web(Gate, frozen=True, kw_only=True):
    """The process that answers people and programs over HTTP, `flowshift serve`."""

    web_address: Annotated[
        str,
        text("Where `flowshift serve` listens.", expected="an address or a host name"),
    ] = "127.0.0.1"
    web_port: Annotated[
        int, Meta(ge=0, le=65_535, description="The port of `flowshift serve`. 0: any free one.")
    ] = 5556
    web_statement_timeout_ms: Annotated[
        int,
        Meta(
            ge=100,
            le=60_000,
            description="Milliseconds that one statement of a page, or of a request that only reads, "
            "may take in the database.",
        ),
    ] = 5_000
