"""What one statement of a prune found and deleted."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec


class Piece(msgspec.Struct, frozen=True):
    """`seen` rows were looked at; `gone` is what was deleted (or would be), by kind.

    The next statement goes on from `mark`; None if nothing was seen. `stuck` are the ids of the
    rows at that very mark that stayed. `any_stays`: one of the rows seen has to stay.
    """

    seen: int
    gone: Mapping[str, int] = {}
    mark: Any = None
    stuck: tuple[str, ...] = ()
    any_stays: bool = False


def executions_gone(runs: int, nodes: int, octets: int) -> dict[str, int]:
    """Executions that are gone, with the bytes that they took."""
    return {"runs": runs, "nodes": nodes, "bytes": octets}
