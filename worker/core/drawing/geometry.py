"""How large a node is drawn, and where its ports are; all in SVG's user units."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from worker.core.drawing.graph import Box

WIDTH: Final = 212.0
HEAD: Final = 44.0
DETAIL: Final = 18.0
ROW: Final = 19.0
FOOT: Final = 8.0
"""A node: type and title, then what it asks, then its ports in rows, then a little room."""


INSET: Final = 5.0
"""The frame is so far inside a box that the ports on its sides are whole."""


class Point(msgspec.Struct, frozen=True):
    """A place in a picture; `y` grows downwards."""

    x: float
    y: float


class Placed(msgspec.Struct, frozen=True):
    """A node's box: its upper left corner and its height. All are equally wide."""

    x: float
    y: float
    height: float

    @property
    def right(self) -> float:
        """Its right side."""
        return self.x + WIDTH

    @property
    def bottom(self) -> float:
        """Its lower side."""
        return self.y + self.height

    def overlaps(self, other: Placed, gap: float = 0) -> bool:
        """Whether two boxes are less than `gap` apart, both across and down."""
        return (
            self.x < other.right + gap
            and other.x < self.right + gap
            and self.y < other.bottom + gap
            and other.y < self.bottom + gap
        )


def height(box: Box) -> float:
    """How high a node is."""
    return _head(box) + rows(box) * ROW + FOOT


def rows(box: Box) -> int:
    """How many rows of ports it has: an input and an output share one."""
    return max(len(box.inputs), len(box.outputs)) + bool(box.ports_left_out)


def row_middle(box: Box, row: int) -> float:
    """The middle of a row of ports, from the box's upper side."""
    return _head(box) + (row + 0.5) * ROW


def input_at(box: Box, at: Placed, port: str | None) -> Point:
    """Where a line into a node ends: at the port of that name, else beside its title."""
    row = _row(box.inputs, port)
    return Point(at.x + INSET, at.y + (HEAD / 2 if row is None else row_middle(box, row)))


def output_at(box: Box, at: Placed, port: str | None) -> Point:
    """Where a line out of a node begins."""
    row = _row(box.outputs, port)
    return Point(at.right - INSET, at.y + (HEAD / 2 if row is None else row_middle(box, row)))


def _row(ports: Sequence[object], name: str | None) -> int | None:
    return next(
        (row for row, port in enumerate(ports) if getattr(port, "name", None) == name), None
    )


def _head(box: Box) -> float:
    return HEAD + (DETAIL if box.detail else 0)
