"""Edges of a draft: where they lead, their ids, and what the platform's interface reads of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import cache
from typing import Final, NamedTuple

import msgspec
from msgspec import Raw

from worker.core.codes import WarningCode, quote
from worker.core.workflow.json_values import (
    JsonObject,
    NodeId,
    id_text,
    is_null,
    node_id_of,
    object_of,
    text_of,
)
from worker.core.workflow.v1 import Edge
from worker.core.workflow.v2 import PortType

_encode = msgspec.json.Encoder().encode
_NULL: Final = Raw(b"null")
_CUSTOM: Final = Raw(b'"custom"')


class End(NamedTuple):
    """One end of an edge of the draft: a node by its new id, its type and the port."""

    node: str
    type: str
    port: str


class Flow(NamedTuple):
    """An edge of the draft: from an output port to an input port, and of which type."""

    source: End
    target: End
    data_type: PortType = "string"


class EdgeIds:
    """Gives every edge an id of its own, a text: V1 does not need one, the platform's editor does."""

    def __init__(self, edges: Iterable[Edge]) -> None:
        self._used: set[str] = set()
        self._tried: dict[str, int] = {}  # wanted id → the last number that was tried for it
        self._reserved = {text_of(edge.keys.get("id")) for edge in edges}

    def of(
        self, index: int, edge: Edge, warn: Callable[[WarningCode, NodeId | None, str], None]
    ) -> Raw:
        """The id of V1's edge; a new one where it has none, no text, or one that is taken."""
        raw = edge.keys.get("id", _NULL)
        given = text_of(raw)
        if given and given not in self._used:
            self._used.add(given)
            return raw
        number = node_id_of(raw) if given is None else None
        ends = f"e-{id_text(edge.source)}-{id_text(edge.target)}"
        fresh = self.free(ends if number is None else id_text(number))
        if given != "" and not is_null(raw):
            why = "its id was taken" if given else "its id was no text"
            warn("edge_id_replaced", edge.target, f"edges[{index}] is now {quote(fresh)}: {why}")
        return Raw(_encode(fresh))

    def free(self, wanted: str) -> str:
        """`wanted`, or `wanted` with the first number that makes it free."""
        number = self._tried.get(wanted, 1)  # ids never become free again
        candidate = wanted if number == 1 else f"{wanted}-{number}"
        while candidate in self._used or candidate in self._reserved:
            number += 1
            candidate = f"{wanted}-{number}"
        self._tried[wanted] = number
        self._used.add(candidate)
        return candidate


def connected(keys: JsonObject, flow: Flow) -> JsonObject:
    """Complete an edge's keys: where it leads, what flows, and what the platform's interface reads."""
    source, target, data_type = flow
    keys["source"] = Raw(_encode(source.node))
    keys["target"] = Raw(_encode(target.node))
    keys["source_port"] = Raw(_encode(source.port))
    keys["target_port"] = Raw(_encode(target.port))
    keys["data_type"] = Raw(_encode(data_type))
    if text_of(keys.get("type")) is None:
        keys["type"] = _CUSTOM
    given = object_of(keys.get("data"))
    keys["data"] = (
        _edge_data(source.type, target.type, given)
        if given
        else _new_edge_data(source.type, target.type)
    )
    return keys


@cache
def _new_edge_data(source_type: str, target_type: str) -> Raw:
    return _edge_data(source_type, target_type, {})


def _edge_data(source_type: str, target_type: str, given: JsonObject) -> Raw:
    """An edge's data as it was, with the types of both ends where it does not name them."""
    for name, node_type in (("source_type", source_type), ("target_type", target_type)):
        if text_of(given.get(name)) is None:
            given[name] = Raw(_encode(node_type))
    return Raw(_encode(given))
