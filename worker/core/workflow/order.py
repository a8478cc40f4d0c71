"""The order in which a workflow's nodes run, in V1 and in V2 (design sections 2 and 4)."""

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
