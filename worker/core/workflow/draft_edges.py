"""Edges of a draft: where they lead, their ids, and what the platform's interface reads of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from worker.core.codes import quote
from worker.core.workflow.ids import FreeIds
from worker.core.workflow.json_values import NodeId, as_node_id, id_text, object_of, text_of
from worker.core.workflow.plan import Plan, PlannedEdge
from worker.core.workflow.v1 import Edge

_encode = msgspec.json.Encoder().encode


class Replaced(NamedTuple):
    """An edge into `target` has another id than V1's; says which and why."""

    target: NodeId
    message: str


def edges_of(
    plan: Plan, edges: Sequence[Edge], ids: Sequence[str]
) -> tuple[list[dict[str, Any]], list[Replaced]]:
    """The keys of a draft's edges, V1's first, given its nodes' ids; and which of V1's ids gave way."""
    given = [edge.id if isinstance(edge.id, str) else None for edge in edges]
    free_ids = FreeIds(given)
    kept: set[str | None] = {None, ""}  # V1 needs no ids; the platform's editor does, each its own
    replaced: list[Replaced] = []
    found = []
    for index, (edge, edge_id, planned) in enumerate(zip(edges, given, plan.edges, strict=True)):
        keys: dict[str, Any] = edge.keys
        if edge_id in kept:
            fresh = free_ids.near(_wanted(edge, edge_id))
            replaced += _replaced(index, edge, edge_id, fresh)
            keys = {**keys, "id": fresh}
        kept.add(edge_id)
        found.append(_connected(keys, planned, ids))
    for planned in plan.new_edges:
        wanted = f"e-{ids[planned.source]}-{ids[planned.target]}"
        found.append(_connected({"id": free_ids.near(wanted)}, planned, ids))
    return found, replaced


def _wanted(edge: Edge, given: str | None) -> str:
    number = as_node_id(edge.id) if given is None else None
    if number is None:
        return f"e-{id_text(edge.source)}-{id_text(edge.target)}"
    return id_text(number)


def _replaced(index: int, edge: Edge, given: str | None, fresh: str) -> Iterator[Replaced]:
    if given != "" and edge.id is not None:
        why = "its id was taken" if given else "its id was no text"
        yield Replaced(edge.target, f"edges[{index}] is now {quote(fresh)}: {why}")


def _connected(keys: Mapping[str, Any], planned: PlannedEdge, ids: Sequence[str]) -> dict[str, Any]:
    """An edge's keys completed: where it leads, what flows, and what the platform's interface reads."""
    source, target = ids[planned.source], ids[planned.target]
    whole = {**keys, "source": source, "target": target, **planned.keys}
    if "type" in keys and text_of(keys["type"]) is not None:
        whole["type"] = keys["type"]
    if "data" in keys and (given := object_of(keys["data"])):
        types = object_of(planned.keys["data"]) or {}
        whole["data"] = given | {
            name: own for name, own in types.items() if text_of(given.get(name)) is None
        }
    return whole
