"""Where a draft's nodes are in the platform's editor, which reads a position as two numbers."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Final

import msgspec
from msgspec import Raw

from worker.core.workflow.json_values import JsonObject, NodeId, object_of
from worker.core.workflow.v1 import Workflow

COLUMN: Final = 300
ROW: Final = 150
_BESIDE: Final = 160
# No person places a node further out, so such a position says nothing about free space.
_FAR: Final = 1e6

_encode = msgspec.json.Encoder().encode
_number = msgspec.json.Decoder(float)


def positions(workflow: Workflow) -> dict[NodeId, Raw]:
    """The position of every node: an object with the numbers `x` and `y`.

    V1's own where it has one, to the last digit and with what else is in it. A coordinate that is
    missing or no number gets that of a layout in columns, in the order of execution, below what has
    its place.
    """
    given = {node.id: object_of(node.keys.get("position")) or {} for node in workflow.nodes}
    unplaced = {node_id for node_id, keys in given.items() if not _is_placed(keys)}
    if not unplaced:
        return {node.id: node.keys["position"] for node in workflow.nodes}
    laid_out = _columns(workflow, unplaced, _first_row(given, unplaced))
    return {
        node.id: _filled_in(given[node.id], laid_out[node.id])
        if node.id in unplaced
        else node.keys["position"]
        for node in workflow.nodes
    }


def beside(position: Raw) -> dict[str, float]:
    """A position left of one that `positions` gave."""
    place = msgspec.json.decode(position, type=dict[str, Raw])
    x, y = _number.decode(place["x"]), _number.decode(place["y"])
    return {"x": x - _BESIDE, "y": y}


def _columns(
    workflow: Workflow, unplaced: set[NodeId], first_row: float
) -> dict[NodeId, tuple[float, float]]:
    """A place for each unplaced node: as far right as its longest way from the start."""
    depth: dict[NodeId, int] = dict.fromkeys(workflow.order, 0)
    targets: dict[NodeId, list[NodeId]] = {node_id: [] for node_id in workflow.order}
    for edge in workflow.edges:
        targets[edge.source].append(edge.target)
    rows: dict[int, int] = {}
    places: dict[NodeId, tuple[float, float]] = {}
    for node_id in workflow.order:
        column = depth[node_id]
        for target in targets[node_id]:
            depth[target] = max(depth[target], column + 1)
        if node_id in unplaced:
            rows[column] = rows.get(column, -1) + 1
            places[node_id] = (column * COLUMN, first_row + rows[column] * ROW)
    return places


def _first_row(given: Mapping[NodeId, JsonObject], unplaced: set[NodeId]) -> float:
    placed = [
        _number.decode(keys["y"]) for node_id, keys in given.items() if node_id not in unplaced
    ]
    return max((y + ROW for y in placed if abs(y) < _FAR), default=0)


def _filled_in(keys: JsonObject, place: tuple[float, float]) -> Raw:
    filled = dict(keys)
    for name, value in zip(("x", "y"), place, strict=True):
        if not _is_number(keys.get(name)):
            filled[name] = Raw(_encode(value))
    return Raw(_encode(filled))


def _is_placed(keys: JsonObject) -> bool:
    return _is_number(keys.get("x")) and _is_number(keys.get("y"))


def _is_number(raw: Raw | None) -> bool:
    """Whether a value is a number that a float can hold."""
    text = b"" if raw is None else bytes(raw)
    return (text[:1].isdigit() or text[:1] == b"-") and math.isfinite(float(text))
