"""Where a draft's nodes are in the platform's editor, which reads a position as two numbers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final

import msgspec
from msgspec import Raw

from worker.core.workflow.json_values import JsonObject, object_of
from worker.core.workflow.order import layers_of
from worker.core.workflow.v1 import Node

COLUMN: Final = 300
ROW: Final = 150
_BESIDE: Final = 160
# No person places a node further out, so such a position says nothing about free space.
_FAR: Final = 1e6

_encode = msgspec.json.Encoder().encode
_number = msgspec.json.Decoder(float)


class _Placed(msgspec.Struct):
    x: float
    y: float


_placed = msgspec.json.Decoder(_Placed)


def positions(
    nodes: Sequence[Node], order: Sequence[int], edges: Sequence[tuple[int, int]]
) -> list[Raw]:
    """The position of every node, by place: an object with the numbers `x` and `y`.

    V1's own where it has one, to the last digit and with what else is in it. A coordinate that is
    missing or no number gets that of a layout in columns, in the order of execution, below what has
    its place.
    """
    found: list[Any] = [node.keys.get("position") for node in nodes]
    unplaced = {
        place: object_of(raw) or {} for place, raw in enumerate(found) if not _is_placed(raw)
    }
    if unplaced:
        placed = [_placed.decode(raw).y for place, raw in enumerate(found) if place not in unplaced]
        first_row = max((y + ROW for y in placed if abs(y) < _FAR), default=0)
        rows: dict[int, int] = {}
        column = layers_of(len(order), edges)
        for place in order:
            if place in unplaced:
                row = rows[column[place]] = rows.get(column[place], -1) + 1
                spot = (column[place] * COLUMN, first_row + row * ROW)
                found[place] = _filled_in(unplaced[place], spot)
    return found


def beside(position: Raw) -> dict[str, float]:
    """A position left of one that `positions` gave."""
    place = _placed.decode(position)
    return {"x": place.x - _BESIDE, "y": place.y}


def _filled_in(keys: JsonObject, place: tuple[float, float]) -> Raw:
    filled = dict(keys)
    for name, value in zip(("x", "y"), place, strict=True):
        if not _is_number(keys.get(name)):
            filled[name] = Raw(_encode(value))
    return Raw(_encode(filled))


def _is_placed(raw: Raw | None) -> bool:
    """Whether a position has two numbers that a float can hold."""
    try:
        place = None if raw is None else _placed.decode(raw)
    except msgspec.ValidationError:
        return False
    return place is not None and math.isfinite(place.x) and math.isfinite(place.y)


def _is_number(raw: Raw | None) -> bool:
    """Whether a value is a number that a float can hold."""
    text = b"" if raw is None else bytes(raw)
    return (text[:1].isdigit() or text[:1] == b"-") and math.isfinite(float(text))
