"""Where the nodes of a picture are: as in the platform's editor where that can be read, else in columns."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import Final

from worker.core.drawing.geometry import WIDTH, Placed, height
from worker.core.drawing.graph import Graph
from worker.core.drawing.layers import Layout, in_layers

APART: Final = 20.0
WIDEST_GAP: Final = 90.0
LARGEST: Final = 6_000.0
"""A picture from the editor's positions is at most as wide and as high as this."""

_STRETCHES: Final = (1.0, 1.25, 1.5, 2.0, 3.0)
"""Nodes are smaller in the editor, so that its positions may need more room here."""


def placed(graph: Graph) -> Layout:
    """Where every box of a workflow is drawn; no two overlap."""
    return _as_in_the_editor(graph) or in_layers(graph)


def _as_in_the_editor(graph: Graph) -> Layout | None:
    """The editor's positions, empty bands closed up, moved apart by the least that keeps the boxes apart.

    None if a node has none, or nothing keeps the boxes apart.
    """
    given = [box.at for box in graph.boxes if box.at is not None]
    if len(given) < len(graph.boxes):
        return None
    heights = [height(box) for box in graph.boxes]
    for stretch in _STRETCHES:
        lefts = _closed_up([x * stretch for x, _ in given], [WIDTH] * len(given))
        tops = _closed_up([y * stretch for _, y in given], heights)
        boxes = tuple(map(Placed, lefts, tops, heights))
        if _is_too_large(boxes):
            return None
        if _are_apart(boxes):
            return Layout(boxes, {})
    return None


def _closed_up(starts: Sequence[float], sizes: Sequence[float]) -> list[float]:
    """Where boxes begin, from 0 on, if every band in which nothing stands is at most `WIDEST_GAP` wide.

    >>> _closed_up([1000, 0, 300], [200, 200, 200])
    [580.0, 0.0, 290.0]
    """
    order = sorted(range(len(starts)), key=starts.__getitem__)
    moved = [0.0] * len(starts)
    shift, end = starts[order[0]], starts[order[0]]
    for place in order:
        shift += max(0.0, starts[place] - end - WIDEST_GAP)
        moved[place] = round(starts[place] - shift, 1)
        end = max(end, starts[place] + sizes[place])
    return moved


def _is_too_large(boxes: Sequence[Placed]) -> bool:
    return any(box.x > LARGEST or box.y > LARGEST for box in boxes)


def _are_apart(boxes: Sequence[Placed]) -> bool:
    return not any(one.overlaps(other, APART) for one, other in combinations(boxes, 2))
