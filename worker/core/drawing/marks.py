"""What a picture marks: what a conversion added, removed or changed, and where it warns."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from worker.core.codes import ConversionWarning
from worker.core.workflow.diff import Change, Located, located
from worker.core.workflow.json_values import NodeId, id_text, objects_in


class Marks(msgspec.Struct, frozen=True):
    """By node id, and by the ids at both ends of an edge; `warnings` are codes by node id."""

    nodes: Mapping[NodeId, Change] = {}
    edges: Mapping[tuple[NodeId, NodeId], Change] = {}
    warnings: Mapping[NodeId, tuple[str, ...]] = {}


NOTHING = Marks()


def of_both(
    workflow: Mapping[str, Any],
    graph: Mapping[str, Any],
    new_ids: Mapping[NodeId, str],
    warnings: Iterable[ConversionWarning] = (),
) -> tuple[Marks, Marks]:
    """What to mark in V1 and in its draft; `new_ids` says which nodes were renamed.

    In V1 what is gone is marked, and the nodes that warnings name; in the draft what is new, and nodes
    whose values are not V1's.
    """
    found = located(workflow, graph, new_ids)
    old_ids = {new: old for old, new in new_ids.items()}
    before = Marks(
        {one.before: "removed" for one in found if one.before is not None and one.after is None},
        {
            (old_ids.get(str(source), source), old_ids.get(str(target), target)): "removed"
            for source, target in _ends(found, "removed")
        },
        _by_node(warnings, workflow),
    )
    after = Marks(
        {
            one.after: "added" if one.before is None else "changed"
            for one in found
            if one.after is not None
        },
        dict.fromkeys(_ends(found, "added"), "added"),
    )
    return before, after


def _ends(found: Sequence[Located], change: Change) -> list[tuple[NodeId, NodeId]]:
    return [one.ends for one in found if one.ends is not None and one.difference.change == change]


def _by_node(
    warnings: Iterable[ConversionWarning], workflow: Mapping[str, Any]
) -> dict[NodeId, tuple[str, ...]]:
    given = [one.get("id") for one in objects_in(workflow.get("nodes"))]
    ids = {id_text(one): one for one in given if isinstance(one, str | int | float)}
    found: dict[NodeId, list[str]] = {}
    for warning in warnings:
        if warning.node is not None and warning.node in ids:
            codes = found.setdefault(ids[warning.node], [])
            if warning.code not in codes:
                codes.append(warning.code)
    return {node: tuple(codes) for node, codes in found.items()}
