"""A layout in columns, from the left to the right: for workflows without a layout of their own.

Every node stands right of all that leads to it, as far left as that allows (longest path). The order
in a column comes from the middle of a node's neighbours, back and forth (Sugiyama's method). Lines
over several columns get places of their own between the boxes, as long as there are few.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Final

import msgspec

from worker.core.drawing.geometry import WIDTH, Placed, Point, height
from worker.core.drawing.graph import Graph
from worker.core.workflow.order import layers_of

BETWEEN_COLUMNS: Final = 76.0
BETWEEN_ROWS: Final = 28.0
_BEND_HEIGHT: Final = 6.0
_BENDS: Final = 1_000
_SWEEPS: Final = 6

_Column = list[int]


class Layout(msgspec.Struct, frozen=True):
    """Where every box is, and by which points a line passes, by its place in the list of lines."""

    boxes: tuple[Placed, ...]
    bends: Mapping[int, tuple[Point, ...]]


def in_layers(graph: Graph) -> Layout:
    """Where each node of a workflow is drawn; one workflow always gives one layout.

    No two boxes overlap. Edges that close a cycle lead back to the left.
    """
    net = _Net(graph)
    columns = _ordered(net)
    tops = _tops(columns, net)
    boxes = tuple(
        Placed(net.layer[place] * (WIDTH + BETWEEN_COLUMNS), tops[place], net.heights[place])
        for place in range(len(graph.boxes))
    )
    bends = {line: tuple(_points(chain, net, tops)) for line, chain in net.chains.items()}
    return Layout(boxes, bends)


class _Net:
    """The nodes, and after them the bends of long lines, as places 0, 1, …, with their columns."""

    def __init__(self, graph: Graph) -> None:
        ends = [(line.source, line.target) for line in graph.lines]
        self.layer = layers_of(len(graph.boxes), ends)
        self.heights = [height(box) for box in graph.boxes]
        self.chains = dict(self._bent(ends))
        self.before: list[_Column] = [[] for _ in self.layer]
        self.after: list[_Column] = [[] for _ in self.layer]
        for line, (source, target) in enumerate(ends):
            for one, other in pairwise((source, *self.chains.get(line, ()), target)):
                if self.layer[one] < self.layer[other]:
                    self.after[one].append(other)
                    self.before[other].append(one)

    def columns(self) -> list[_Column]:
        """The places in each column, in the order that they have in the workflow."""
        found: list[_Column] = [[] for _ in range(max(self.layer) + 1)]
        for place, layer in enumerate(self.layer):
            found[layer].append(place)
        return found

    def _bent(self, ends: Sequence[tuple[int, int]]) -> Iterator[tuple[int, list[int]]]:
        """Add places for lines that pass columns by: none at all if there would be too many."""
        passed = [range(self.layer[one] + 1, self.layer[other]) for one, other in ends]
        if sum(map(len, passed)) > _BENDS:
            return
        for line, layers in enumerate(passed):
            if layers:
                first = len(self.layer)
                self.layer.extend(layers)
                self.heights.extend(_BEND_HEIGHT for _ in layers)
                yield line, list(range(first, len(self.layer)))


def _ordered(net: _Net) -> list[_Column]:
    """The columns, each sorted by the middle of its neighbours; the order with the fewest crossings."""
    columns = net.columns()
    best, fewest = columns, _crossings(columns, net)
    for sweep in range(_SWEEPS):
        if not fewest:
            break
        columns = _swept(columns, net.after if sweep % 2 else net.before, reverse=bool(sweep % 2))
        crossings = _crossings(columns, net)
        if crossings < fewest:
            best, fewest = columns, crossings
    return best


def _swept(
    columns: Sequence[_Column], neighbours: Sequence[_Column], *, reverse: bool
) -> list[_Column]:
    place_of = {place: row for column in columns for row, place in enumerate(column)}
    swept: dict[int, _Column] = {}
    for number in sorted(range(len(columns)), reverse=reverse):
        middle = {
            place: _mean([place_of[one] for one in neighbours[place]], place_of[place])
            for place in columns[number]
        }
        swept[number] = sorted(columns[number], key=lambda place: (middle[place], place_of[place]))
        place_of.update({place: row for row, place in enumerate(swept[number])})
    return [swept[number] for number in range(len(columns))]


def _crossings(columns: Sequence[_Column], net: _Net) -> int:
    """How many pairs of lines between neighbouring columns cross."""
    place_of = {place: row for column in columns for row, place in enumerate(column)}
    return sum(
        _inversions(
            [row for place in column for row in sorted(place_of[t] for t in net.after[place])]
        )
        for column in columns
    )


def _inversions(rows: list[int]) -> int:
    """How many pairs stand the wrong way round, by merging.

    >>> _inversions([3, 1, 2, 2])
    3
    """
    if len(rows) < 2:
        return 0
    left, right = rows[: len(rows) // 2], rows[len(rows) // 2 :]
    found = _inversions(left) + _inversions(right)
    left.sort()
    right.sort()
    at = 0
    for row in right:
        while at < len(left) and left[at] <= row:
            at += 1
        found += len(left) - at
    return found


def _tops(columns: Sequence[_Column], net: _Net) -> list[float]:
    """The upper side of each place: near the middle of its neighbours, below the one before."""
    tops = [0.0] * len(net.layer)
    for column in columns:
        _stack(column, [0.0] * len(column), net, tops)
    for neighbours, order in ((net.before, 1), (net.after, -1), (net.before, 1)):
        for column in columns[::order]:
            wanted = [_wanted(place, neighbours[place], net, tops) for place in column]
            _stack(column, wanted, net, tops)
    return tops


def _wanted(place: int, neighbours: Sequence[int], net: _Net, tops: Sequence[float]) -> float:
    middles = [tops[one] + net.heights[one] / 2 for one in neighbours]
    half = net.heights[place] / 2
    return _mean(middles, tops[place] + half) - half


def _stack(column: _Column, wanted: Sequence[float], net: _Net, tops: list[float]) -> None:
    """Place a column's boxes where they want to be, in their order and apart, as a whole centred."""
    at = float("-inf")
    found = []
    for place, top in zip(column, wanted, strict=True):
        at = max(at, top)
        found.append(at)
        at += net.heights[place] + BETWEEN_ROWS
    shift = _mean([top - one for top, one in zip(wanted, found, strict=True)], 0)
    for place, top in zip(column, found, strict=True):
        tops[place] = round(top + shift, 1)


def _points(chain: Sequence[int], net: _Net, tops: Sequence[float]) -> Iterator[Point]:
    """Both ends of the level piece by which a line passes each column."""
    for place in chain:
        left = net.layer[place] * (WIDTH + BETWEEN_COLUMNS)
        y = tops[place] + _BEND_HEIGHT / 2
        yield Point(left, y)
        yield Point(left + WIDTH, y)


def _mean(values: Sequence[float], otherwise: float) -> float:
    return sum(values) / len(values) if values else otherwise
