"""A workflow as one SVG element for a page.

The picture is an image to who cannot see it: its title and description say what it shows, and the page
lists the nodes in words beside it. The classes are `worker/web`'s stylesheet's.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import pairwise
from typing import Final
from xml.etree import ElementTree as ET

import msgspec

from worker.core.drawing import geometry
from worker.core.drawing.geometry import INSET, WIDTH, Placed, Point, input_at, output_at
from worker.core.drawing.graph import Box, Graph, Line, Port
from worker.core.drawing.layers import Layout
from worker.core.drawing.marks import NOTHING, Marks
from worker.core.drawing.place import placed
from worker.core.drawing.texts import fitted
from worker.core.shown import plain
from worker.core.workflow.diff import Change
from worker.core.workflow.json_values import id_text

MOST_BOXES: Final = 300
MOST_LINES: Final = 1_200
"""A larger workflow is not drawn: nobody could read the picture, and it would hold up the page."""

HOVER_WIDTH: Final = 200
"""Characters of a text that a pointer may bring up."""

_MARGIN: Final = 24.0
_SMALLEST: Final = 0.6
"""A picture is shown smaller where there is less room; beyond that its texts cannot be read."""

_PHONE: Final = 340.0
"""A picture that may be so narrow is never wider than its frame."""

_BESIDE: Final = 1_280.0
"""Two pictures that are wider do not stand side by side: one is above the other, column by column."""

_SIGNS: Final[dict[Change, str]] = {"added": "+", "removed": "−", "changed": "~"}
_KNOWN_TYPES: Final = frozenset(
    {"start", "end", "answer", "llm", "knowledge-retrieval", "knowledge", "text-join"}
)

Element = ET.Element


class Drawn(msgspec.Struct, frozen=True):
    """A picture as well-formed SVG, and the width in pixels below which its texts cannot be read."""

    svg: str
    least_width: int

    @property
    def fits_everywhere(self) -> bool:
        """Whether it is readable as a whole even on a phone."""
        return self.least_width <= _PHONE


def can_draw(graph: Graph) -> bool:
    """Whether a workflow is small enough for a picture."""
    return len(graph.boxes) <= MOST_BOXES and len(graph.lines) <= MOST_LINES


def draw(graph: Graph, *, name: str, title: str, marks: Marks = NOTHING) -> Drawn:
    """The picture of a workflow that `can_draw` admits, as well-formed SVG without any style.

    `name` begins the ids in it (letters, digits and hyphens), so that a page can hold several pictures;
    `title` is what the picture is called to who cannot see it. The same arguments give the same bytes.
    """
    layout = placed(graph)
    left, top, right, bottom = _extent(layout)
    size = {"width": _px(right - left), "height": _px(bottom - top)}
    svg = Element(
        "svg",
        {
            "xmlns": "http://www.w3.org/2000/svg",
            "class": "workflow is-large" if right - left > _BESIDE else "workflow",
            "role": "img",
            "aria-labelledby": f"{name}-title {name}-desc",
            "viewBox": f"{left:g} {top:g} {right - left:g} {bottom - top:g}",
            **size,
        },
    )
    _add(svg, "title", {"id": f"{name}-title"}, plain(title, HOVER_WIDTH))
    _add(svg, "desc", {"id": f"{name}-desc"}, description(graph, marks))
    _arrow_head(svg, name)
    for number, line in enumerate(graph.lines):
        _line(svg, graph, layout, number, line, marks, name)
    for box, at in zip(graph.boxes, layout.boxes, strict=True):
        _box(svg, box, at, marks)
    return Drawn(ET.tostring(svg, encoding="unicode"), math.ceil(_SMALLEST * (right - left)))


def description(graph: Graph, marks: Marks = NOTHING) -> str:
    """A picture in a sentence or two."""
    said = f"{len(graph.boxes):,} nodes and {len(graph.lines):,} edges"
    if graph.loose:
        said += f"; {graph.loose:,} more edges lead to no node"
    changes = [*marks.nodes.values(), *marks.edges.values()]
    counts = [f"{changes.count(change):,} {change}" for change in _SIGNS if changes.count(change)]
    if counts:
        said += f"; {', '.join(counts)}"
    if marks.warnings:
        said += f"; warnings at {len(marks.warnings):,} nodes"
    return f"{said}."


# -- lines -----------------------------------------------------------------------------------------


def _line(
    svg: Element, graph: Graph, layout: Layout, number: int, line: Line, marks: Marks, name: str
) -> None:
    source, target = graph.boxes[line.source], graph.boxes[line.target]
    begin = output_at(source, layout.boxes[line.source], line.source_port)
    end = input_at(target, layout.boxes[line.target], line.target_port)
    change = marks.edges.get((source.id, target.id))
    group = _add(svg, "g", {"class": _classes("edge", change)})
    _add(group, "title", {}, _said_of(source, target, line, change))
    route = (begin, *layout.bends.get(number, ()), end)
    _add(group, "path", {"d": _curve(route), "marker-end": f"url(#{name}-arrow)"})


def _curve(route: tuple[Point, ...]) -> str:
    """A smooth line through points, level at each of them."""
    first = route[0]
    parts = [f"M{first.x:g} {first.y:g}"]
    for one, other in pairwise(route):
        pull = max(28.0, abs(other.x - one.x) / 2) if other.x > one.x else 90.0
        dip = 0.0 if other.x > one.x else max(0.0, 80.0 - abs(other.y - one.y))
        parts.append(
            f"C{one.x + pull:g} {one.y + dip:g} {other.x - pull:g} {other.y + dip:g}"
            f" {other.x:g} {other.y:g}"
        )
    return "".join(parts)


def _arrow_head(svg: Element, name: str) -> None:
    marker = _add(
        _add(svg, "defs", {}),
        "marker",
        {
            "id": f"{name}-arrow",
            "viewBox": "0 0 8 8",
            "refX": "7.5",
            "refY": "4",
            "markerWidth": "7",
            "markerHeight": "7",
            "orient": "auto",
        },
    )
    _add(marker, "path", {"class": "arrow", "d": "M0 0.8L8 4L0 7.2Z"})


def _said_of(source: Box, target: Box, line: Line, change: Change | None) -> str:
    ends = [
        plain(id_text(box.id), HOVER_WIDTH) + (f".{plain(port, HOVER_WIDTH)}" if port else "")
        for box, port in ((source, line.source_port), (target, line.target_port))
    ]
    return " → ".join(ends) + (f" ({change})" if change else "")


# -- boxes -----------------------------------------------------------------------------------------


def _box(svg: Element, box: Box, at: Placed, marks: Marks) -> None:
    change, warnings = marks.nodes.get(box.id), marks.warnings.get(box.id, ())
    kind = f"is-{box.type}" if box.type in _KNOWN_TYPES else "is-other"
    # An SVG inside an SVG cuts off what is too long for it.
    group = _add(
        svg,
        "svg",
        {
            "class": _classes(f"node {kind}", change),
            "x": f"{at.x:g}",
            "y": f"{at.y:g}",
            "width": f"{WIDTH:g}",
            "height": f"{at.height:g}",
        },
    )
    _add(group, "title", {}, _said_of_box(box, change, warnings))
    _frame(group, at.height)
    _add(group, "text", {"class": "type", "x": "16", "y": "18"}, fitted(box.type, 22))
    _add(group, "text", {"class": "name", "x": "16", "y": "36"}, fitted(box.title, 23))
    if box.detail:
        _add(group, "text", {"class": "detail", "x": "16", "y": "54"}, fitted(box.detail, 29))
    for row, left, right in _rows(box):
        _ports(group, geometry.row_middle(box, row), left, right)
    if box.ports_left_out:
        middle = geometry.row_middle(box, geometry.rows(box) - 1)
        said = f"… and {box.ports_left_out:,} more ports"
        _add(group, "text", {"class": "port", "x": "16", "y": f"{middle + 4:g}"}, said)
    _badges(group, change, warnings)


def _frame(group: Element, high: float) -> None:
    size = {"width": f"{WIDTH - 2 * INSET:g}", "height": f"{high - 2:g}"}
    _add(group, "rect", {"class": "frame", "x": f"{INSET:g}", "y": "1", "rx": "7", **size})
    stripe = {"x": f"{INSET:g}", "y": "8", "width": "4", "height": f"{geometry.HEAD - 14:g}"}
    _add(group, "rect", {"class": "stripe", **stripe})


def _rows(box: Box) -> Iterator[tuple[int, Port | None, Port | None]]:
    for row in range(max(len(box.inputs), len(box.outputs))):
        yield (
            row,
            box.inputs[row] if row < len(box.inputs) else None,
            box.outputs[row] if row < len(box.outputs) else None,
        )


def _ports(group: Element, middle: float, left: Port | None, right: Port | None) -> None:
    columns = 15 if left and right else 30
    y = f"{middle + 4:g}"
    if left is not None:
        mapped = "port is-mapped" if left.source else "port"
        _add(group, "circle", {"class": mapped, "cx": f"{INSET:g}", "cy": f"{middle:g}", "r": "4"})
        said = left.name + ("*" if left.required else "")
        _add(group, "text", {"class": "port", "x": "16", "y": y}, fitted(said, columns))
    if right is not None:
        at = {"cx": f"{WIDTH - INSET:g}", "cy": f"{middle:g}", "r": "4"}
        _add(group, "circle", {"class": "port is-out", **at})
        place = {"x": f"{WIDTH - 16:g}", "y": y, "text-anchor": "end"}
        _add(group, "text", {"class": "port", **place}, fitted(right.name, columns))


def _badges(group: Element, change: Change | None, warnings: tuple[str, ...]) -> None:
    x = WIDTH - 16
    if change is not None:
        _add(group, "circle", {"class": "badge", "cx": f"{x:g}", "cy": "15", "r": "8"})
        place = {"x": f"{x:g}", "y": "19.5", "text-anchor": "middle"}
        _add(group, "text", {"class": "sign", **place}, _SIGNS[change])
        x -= 22
    if warnings:
        points = f"M{x:g} 6.5L{x + 9.5:g} 23L{x - 9.5:g} 23Z"
        _add(group, "path", {"class": "warning", "d": points})
        place = {"x": f"{x:g}", "y": "21", "text-anchor": "middle"}
        _add(group, "text", {"class": "warning-sign", **place}, "!")


def _said_of_box(box: Box, change: Change | None, warnings: tuple[str, ...]) -> str:
    said = f"{plain(box.type, 60)}: {plain(box.title, HOVER_WIDTH)}"
    if (shown := id_text(box.id)) != box.title:
        said += f" ({plain(shown, HOVER_WIDTH)})"
    for note in (change, *warnings):
        said += f", {plain(note, 60)}" if note else ""
    return said


# -- XML -------------------------------------------------------------------------------------------


def _extent(layout: Layout) -> tuple[float, float, float, float]:
    bends = [point for points in layout.bends.values() for point in points]
    return (
        min(box.x for box in layout.boxes) - _MARGIN,
        min([box.y for box in layout.boxes] + [point.y for point in bends]) - _MARGIN,
        max(box.right for box in layout.boxes) + _MARGIN,
        max([box.bottom for box in layout.boxes] + [point.y for point in bends]) + _MARGIN,
    )


def _px(length: float) -> str:
    return f"{round(length, 1):g}"


def _classes(names: str, change: Change | None) -> str:
    return names if change is None else f"{names} is-{change}"


def _add(parent: Element, tag: str, attributes: dict[str, str], text: str | None = None) -> Element:
    child = ET.SubElement(parent, tag, attributes)
    child.text = text
    return child
