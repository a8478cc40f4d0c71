"""The order in which a workflow's nodes run, in V1 and in V2 (design sections 2, 4), and their columns."""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from typing import TypeVar

Id = TypeVar("Id", bound=Hashable)


def run_order(ids: Iterable[Id], edges: Iterable[tuple[Id, Id]]) -> tuple[Id, ...]:
    """Kahn's algorithm, first in first out, ties in the order of `ids`.

    `edges` are (source, target), both among `ids`. A node waits for each of its edges, so that a
    doubled edge counts twice. Nodes on a cycle, or behind one, are missing.

    >>> run_order(["end", "b", "a", "start"], [("start", "a"), ("start", "b"), ("b", "end")])
    ('start', 'a', 'b', 'end')
    """
    waits = dict.fromkeys(ids, 0)
    targets: dict[Id, list[Id]] = {node_id: [] for node_id in waits}
    for source, target in edges:
        waits[target] += 1
        targets[source].append(target)
    order = [node_id for node_id, count in waits.items() if count == 0]
    for node_id in order:  # it grows meanwhile: what waits for nothing any more comes last
        for target in targets[node_id]:
            waits[target] -= 1
            if waits[target] == 0:
                order.append(target)
    return tuple(order)


def layers_of(count: int, edges: Iterable[tuple[int, int]]) -> list[int]:
    """The column of each of `count` nodes: one more than the last of what leads to it.

    Where a cycle leaves no node without a way in, the first one that is left goes on.

    >>> layers_of(4, [(0, 1), (1, 2), (0, 3), (3, 2)]), layers_of(2, [(0, 1), (1, 0)])
    ([0, 1, 2, 1], [0, 1])
    """
    targets: list[list[int]] = [[] for _ in range(count)]
    waiting = [0] * count
    for source, target in edges:
        if source != target:
            targets[source].append(target)
            waiting[target] += 1
    layer = [0] * count
    done = [False] * count
    ready = [place for place in range(count) if not waiting[place]]
    left = iter(range(count))
    for _ in range(count):
        place = ready.pop(0) if ready else next(one for one in left if not done[one])
        done[place] = True
        for target in targets[place]:
            waiting[target] -= 1
            if done[target]:
                continue
            layer[target] = max(layer[target], layer[place] + 1)
            if not waiting[target]:
                ready.append(target)
    return layer
