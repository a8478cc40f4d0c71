"""What a picture shows of a workflow: boxes and lines, read from any JSON, of V1 or of V2.

Nothing is refused that has nodes: broken workflows are looked at more often than others.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

import msgspec

from worker.core.workflow.json_values import NodeId, loose_id, object_or_empty, objects_in
from worker.core.workflow.text import MAX_BYTES

ROWS: Final = 20
"""As many inputs, and as many outputs, of one node are read."""

_FAR: Final = 1e6
"""No person places a node further out: such a position says nothing."""

_EDITOR_TYPE: Final = "custom"
_TITLES: Final = ("title", "label", "name")
_SHOWN: Final = ("model", "document_ids", "documentIds", "dataset_id", "dataset")


class Port(msgspec.Struct, frozen=True):
    """An input or output; `source` is the selector that an input is mapped to."""

    name: str
    type: str
    required: bool = False
    source: str | None = None


class Box(msgspec.Struct, frozen=True):
    """A node. `at` is where it is in the platform's editor, None if that is not two numbers.

    `inputs` and `outputs` hold the first 20 of each; `ports_left_out` counts the others.
    """

    id: NodeId
    type: str
    title: str
    detail: str
    at: tuple[float, float] | None
    inputs: tuple[Port, ...] = ()
    outputs: tuple[Port, ...] = ()
    ports_left_out: int = 0


class Line(msgspec.Struct, frozen=True):
    """An edge between two boxes, by their places in the list; ports by name, None if it names none."""

    source: int
    target: int
    source_port: str | None = None
    target_port: str | None = None


class Graph(msgspec.Struct, frozen=True):
    """A workflow; `loose` counts edges that lead to no node."""

    boxes: tuple[Box, ...]
    lines: tuple[Line, ...]
    loose: int = 0


def read(text: str | None) -> Graph | None:
    """The workflow in a column's text; None if there are no nodes in it, or it is over 4 MiB."""
    if text is None or len(text) > MAX_BYTES:
        return None
    try:
        value = msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError, UnicodeError):
        return None
    return of_value(value)


def of_value(value: object) -> Graph | None:
    """The same of JSON that was decoded."""
    boxes = tuple(map(_box, objects_in(object_or_empty(value).get("nodes"))))
    if not boxes:
        return None
    places: dict[NodeId, int] = {}
    for place, box in enumerate(boxes):
        places.setdefault(box.id, place)
    edges = objects_in(object_or_empty(value).get("edges"))
    lines = tuple(_lines(edges, places))
    return Graph(boxes, lines, len(edges) - len(lines))


def _lines(edges: list[dict[str, Any]], places: Mapping[NodeId, int]) -> Iterator[Line]:
    for edge in edges:
        source = places.get(loose_id(edge.get("source")))
        target = places.get(loose_id(edge.get("target")))
        if source is not None and target is not None:
            ports = (edge.get("source_port"), edge.get("target_port"))
            yield Line(source, target, *(one if isinstance(one, str) else None for one in ports))


def _box(node: dict[str, Any]) -> Box:
    data = object_or_empty(node.get("data"))
    inputs, more_inputs = _ports(node, "inputs")
    outputs, more_outputs = _ports(node, "outputs")
    return Box(
        id=loose_id(node.get("id")),
        type=_type(node, data),
        title=_title(node, data),
        detail=_detail(data),
        at=_at(node.get("position")),
        inputs=inputs,
        outputs=outputs,
        ports_left_out=more_inputs + more_outputs,
    )


def _type(node: Mapping[str, Any], data: Mapping[str, Any]) -> str:
    given = node.get("type")
    if given == _EDITOR_TYPE and isinstance(data.get("type"), str):
        given = data["type"]
    return given if isinstance(given, str) else "?"


def _title(node: Mapping[str, Any], data: Mapping[str, Any]) -> str:
    found = (data.get(key) for key in _TITLES)
    given = next((one for one in found if isinstance(one, str) and one.strip()), None)
    return given if given is not None else str(loose_id(node.get("id")))


def _detail(data: Mapping[str, Any]) -> str:
    """What a node asks: the model, or the documents that it searches."""
    for key in _SHOWN:
        value = data.get(key)
        if isinstance(value, dict):
            value = value.get("name") or value.get("id")
        if isinstance(value, list):
            value = ", ".join(one for one in value[:3] if isinstance(one, str))
        if isinstance(value, str) and value:
            return value
    return ""


def _at(position: object) -> tuple[float, float] | None:
    keys = object_or_empty(position)
    x, y = _number(keys.get("x")), _number(keys.get("y"))
    return None if x is None or y is None else (x, y)


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if abs(value) < _FAR else None


def _ports(node: Mapping[str, Any], side: str) -> tuple[tuple[Port, ...], int]:
    found = objects_in(object_or_empty(node.get("ports")).get(side))
    mappings = object_or_empty(node.get("variable_mappings")) if side == "inputs" else {}
    return tuple(_port(one, mappings) for one in found[:ROWS]), max(0, len(found) - ROWS)


def _port(port: Mapping[str, Any], mappings: Mapping[str, Any]) -> Port:
    name = port.get("name")
    name = name if isinstance(name, str) else "?"
    mapping = mappings.get(name)
    source = mapping.get("variable") if isinstance(mapping, dict) else mapping
    kind = port.get("type")
    return Port(
        name=name,
        type=kind if isinstance(kind, str) else "any",
        required=port.get("required") is True,
        source=source if isinstance(source, str) else None,
    )
