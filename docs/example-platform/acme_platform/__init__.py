"""A platform, as small as it can be, and its word for flowshift."""

from __future__ import annotations

from typing import Any

from acme_platform import engine, validator


class Acme:
    """What the entry point `acme` names."""

    name = "Acme 4.2"

    def check(self, graph: dict[str, Any]) -> list[str]:
        """What this platform objects to in a draft."""
        return validator.objections(graph)

    def execute(self, graph: dict[str, Any], message: str, providers: Any) -> str:
        """What this platform answers; it searches and asks models through `providers`."""
        return engine.run(graph, message, providers)
