"""The OpenAPI document of `flowshift serve`, from the types of its handlers."""

from __future__ import annotations

import msgspec

from worker.runtime import Runtime
from worker.servers.connect import Servers
from worker.settings import Settings
from worker.web.app import create_app
from worker.web.documentation.document import document


def openapi_document() -> str:
    """The document as it is served; nothing is connected to."""
    nowhere = Runtime(Settings(), Servers("postgresql://nowhere/none", "redis://nowhere"))
    made = create_app(nowhere).openapi_schema.to_schema()
    return msgspec.json.format(msgspec.json.encode(document(made)), indent=2).decode() + "\n"
