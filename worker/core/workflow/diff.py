"""What changed between a V1 workflow and its draft, in words for a person.

Works on any two graphs: the draft may be one that a person edited since, or may be broken.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Literal

import msgspec

from worker.core.shown import short
from worker.core.workflow.json_values import NodeId, loose_id, object_or_empty, objects_in

Change = Literal["added", "removed", "changed"]


class Difference(msgspec.Struct, frozen=True):
    """One difference; `before` and `after` are the values, None if there was no value."""

    change: Change
    what: str
    before: Any = None
    after: Any = None


class Located(msgspec.Struct, frozen=True):
    """A difference and where it is: the node's id in each graph that has it, or an edge's two ends.

    The ends of an edge are ids of the later graph: those of renamed nodes are the new ones.
    """

    difference: Difference
    before: NodeId | None = None
    after: NodeId | None = None
    ends: tuple[NodeId, NodeId] | None = None


def differences(
    workflow: Mapping[str, Any], graph: Mapping[str, Any], new_ids: Mapping[NodeId, str]
) -> list[Difference]:
    """How `graph` differs from `workflow`; `new_ids` says which nodes were renamed.

    Ports and mappings are what a draft is, so they are not differences; the values of `data` and
    the nodes and edges are.
    """
    return [one.difference for one in located(workflow, graph, new_ids)]


def located(
    workflow: Mapping[str, Any], graph: Mapping[str, Any], new_ids: Mapping[NodeId, str]
) -> list[Located]:
    """The same differences in the same order, each with the node or edge that it is about."""
    before = {loose_id(node.get("id")): node for node in objects_in(workflow.get("nodes"))}
    after = {loose_id(node.get("id")): node for node in objects_in(graph.get("nodes"))}
    return [
        *_nodes(before, after, new_ids),
        *_edges(objects_in(workflow.get("edges")), objects_in(graph.get("edges")), new_ids),
    ]


def draft_differences(written: Mapping[str, Any], graph: Mapping[str, Any]) -> list[Difference]:
    """How a draft differs from the one that conversion gives: as above, and by its mappings."""
    before = {loose_id(node.get("id")): node for node in objects_in(written.get("nodes"))}
    after = {loose_id(node.get("id")): node for node in objects_in(graph.get("nodes"))}
    return [
        *differences(written, graph, {}),
        *(
            difference
            for node_id, old in before.items()
            if node_id in after
            for difference in _values(
                f"{node_id}: input", _variables(old), _variables(after[node_id])
            )
        ),
    ]


def _variables(node: Mapping[str, Any]) -> dict[str, Any]:
    """Where each input takes its value from, by port."""
    mappings = object_or_empty(node.get("variable_mappings"))
    return {
        port: mapping.get("variable") if isinstance(mapping, dict) else mapping
        for port, mapping in mappings.items()
    }


def _nodes(
    before: Mapping[Any, Any], after: Mapping[Any, Any], new_ids: Mapping[NodeId, str]
) -> Iterator[Located]:
    kept = {new_ids.get(node_id, node_id) for node_id in before}
    for node_id, old in before.items():
        new_id = new_ids.get(node_id, node_id)
        new = after.get(new_id)
        there = None if new is None else new_id
        for difference in _node(node_id, new_id, old, new):
            yield Located(difference, node_id, there)
    for node_id, new in after.items():
        if node_id not in kept:
            added = Difference("added", f"node {node_id}", None, new.get("type"))
            yield Located(added, None, node_id)


def _node(
    node_id: NodeId, new_id: NodeId, old: Mapping[str, Any], new: Mapping[str, Any] | None
) -> Iterator[Difference]:
    if new_id != node_id:
        yield Difference("changed", "node id", node_id, new_id)
    if new is None:
        yield Difference("removed", f"node {node_id}")
        return
    if old.get("type") != new.get("type"):
        yield Difference("changed", f"{new_id}: type", old.get("type"), new.get("type"))
    data, new_data = (object_or_empty(node.get("data")) for node in (old, new))
    yield from _values(f"{new_id}:", data, new_data)


def _values(where: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[Difference]:
    for key in dict.fromkeys((*old, *new)):
        what = f"{where} {key}"
        if key not in new:
            yield Difference("removed", what, old[key])
        elif key not in old:
            yield Difference("added", what, None, new[key])
        elif not is_same_json(old[key], new[key]):
            yield Difference("changed", what, old[key], new[key])


def type_of(value: object) -> str:
    """What kind of JSON a value is, in words; numbers are of one kind.

    >>> type_of("5"), type_of(5), type_of(5.0), type_of(True), type_of(None), type_of([])
    ('text', 'number', 'number', 'boolean', 'null', 'array')
    """
    if value is None:
        return "null"
    names = {bool: "boolean", str: "text", int: "number", float: "number", list: "array"}
    return names.get(type(value), "object")


def is_same_json(old: object, new: object) -> bool:
    """Whether two values are the same JSON: Python takes `true` and 1 for equal."""
    if type_of(old) != type_of(new):
        return False
    if isinstance(old, list) and isinstance(new, list):
        return len(old) == len(new) and all(map(is_same_json, old, new))
    if isinstance(old, dict) and isinstance(new, dict):
        return old.keys() == new.keys() and all(is_same_json(old[key], new[key]) for key in old)
    return old == new


def _edges(before: list[Any], after: list[Any], new_ids: Mapping[NodeId, str]) -> Iterator[Located]:
    old = dict.fromkeys(
        (new_ids.get(source, source), new_ids.get(target, target))
        for source, target in _ends(before)
    )
    new = dict.fromkeys(_ends(after))
    for source, target in old:
        if (source, target) not in new:
            yield Located(Difference("removed", f"edge {source} → {target}"), ends=(source, target))
    for source, target in new:
        if (source, target) not in old:
            yield Located(Difference("added", f"edge {source} → {target}"), ends=(source, target))


def _ends(edges: list[Any]) -> Iterator[tuple[NodeId, NodeId]]:
    for edge in edges:
        yield loose_id(edge.get("source")), loose_id(edge.get("target"))


def values_of(change: Difference) -> tuple[str | None, str | None]:
    """What stood there before and after; with their types where these differ and may look alike."""
    if change.change == "changed":
        types = type_of(change.before), type_of(change.after)
        if types[0] != types[1] and not {*types} & {"array", "object"}:
            return _typed(change.before), _typed(change.after)
        return short(change.before), short(change.after)
    return (
        None if change.before is None else short(change.before),
        None if change.after is None else short(change.after),
    )


def _typed(value: object) -> str:
    if value is None:
        return "null"
    shown = f'"{short(value)}"' if isinstance(value, str) else short(value)
    return f"{shown} {type_of(value)}"
