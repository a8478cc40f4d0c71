"""The platform guide's six questions about a draft, answered for people.

A draft may be one that a person drew, so it may contain anything: what cannot be read is an
answer too, and the rest is answered anyway. All six are yes exactly where
`worker.core.workflow.graph_check.check` finds nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final, TypeVar

import msgspec
from msgspec import Raw

from worker.core.codes import Issue, quote
from worker.core.counted import counted
from worker.core.workflow.graph_check import NO_TYPES, Declared, DraftRule, issues_of, no_more_rules
from worker.core.workflow.v2 import (
    RESERVED_IDS,
    Graph,
    GraphEdge,
    GraphNode,
    PortMapping,
    Ports,
    split_selector,
)

MAX_NODES: Final = 10_000
"""Graphs with more nodes are not looked at: no execution runs as many, and ancestors are squares."""

QUESTIONS: Final[Mapping[str, tuple[str, ...]]] = {
    "Does every node have its ports?": ("ports",),
    "Does every edge have both ports, and do its nodes have them?": ("edge",),
    "Is every required input mapped?": ("required",),
    "Does every mapping name an existing output of an ancestor?": ("mapping",),
    "Do the types agree?": ("types",),
    "Is the graph sound?": ("node", "ids", "start", "end", "cycle", "reachable", "target"),
}
"""The questions in order, each with the codes of the issues that make its answer no."""

_PORTS, _EDGES, _REQUIRED, _MAPPINGS, _TYPES, _SOUND = QUESTIONS


class Answer(msgspec.Struct, frozen=True):
    """The answer to one question: yes with what was counted, or no with what is wrong.

    Where it could not be decided the answer is no, `evidence` says why, and there are no `issues`.
    """

    question: str
    yes: bool
    evidence: str
    issues: tuple[Issue, ...] = ()


class _Shape(msgspec.Struct, frozen=True):
    nodes: list[Raw]
    edges: list[Raw]


_T = TypeVar("_T")

_keys = msgspec.json.Decoder(dict[str, Raw])
_shape = msgspec.json.Decoder(_Shape)


def checklist(
    graph: bytes, declared: Mapping[str, Declared] = NO_TYPES, rule: DraftRule = no_more_rules
) -> tuple[Answer, ...]:
    """Answer the six questions about a draft's graph (JSON), in order.

    A node of a `declared` type is held against what its type declares, as `graph_check.check` does;
    `rule` is the target's.
    """
    try:
        shape = _shape.decode(graph)
        draft, found = _read(shape)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        return _undecided(f"the graph cannot be read: {_reason(error)}")
    except RecursionError:
        return _undecided("the graph cannot be read: it is nested too deep")
    if len(shape.nodes) > MAX_NODES:
        return _undecided(f"{len(shape.nodes):,} nodes; at most {MAX_NODES:,} are looked at")
    unread = {(issue.code, issue.path) for issue in found}
    found += [one for one in issues_of(draft, declared, rule) if (one.code, one.path) not in unread]
    return _answers(draft, found)


def _undecided(why: str) -> tuple[Answer, ...]:
    return tuple(Answer(question, False, f"cannot be decided: {why}") for question in QUESTIONS)


def _answers(draft: Graph, found: list[Issue]) -> tuple[Answer, ...]:
    evidence, open_questions = _counted(draft), _left_open(found)
    answers = []
    for question, codes in QUESTIONS.items():
        issues = tuple(issue for issue in found if issue.code in codes)
        if issues:
            answers.append(Answer(question, False, counted(len(issues), "fault"), issues))
        elif question in open_questions:
            answers.append(Answer(question, False, open_questions[question]))
        else:
            answers.append(Answer(question, True, evidence[question]))
    return tuple(answers)


def _left_open(found: Iterable[Issue]) -> dict[str, str]:
    """The questions that other faults leave without an answer, and why."""
    codes = {issue.code for issue in found}
    if "ids" in codes:
        why = "cannot be decided: two nodes have the same id"
        return dict.fromkeys((_EDGES, _REQUIRED, _MAPPINGS, _TYPES), why)
    if "cycle" in codes:
        return {_MAPPINGS: "cannot be decided: on a cycle every node is its own ancestor"}
    return {}


def _counted(draft: Graph) -> dict[str, str]:
    """What a yes to each question rests on."""
    ports = [port for node in draft.nodes for port in (*node.ports.inputs, *node.ports.outputs)]
    required = sum(
        port.required and port.name in node.variable_mappings
        for node in draft.nodes
        for port in node.ports.inputs
    )
    mappings = [one for node in draft.nodes for one in node.variable_mappings.values()]
    provided = sum(split_selector(one.variable)[0] in RESERVED_IDS for one in mappings)
    ends = sum(node.type == "end" for node in draft.nodes)
    nodes, edges = counted(len(draft.nodes), "node"), counted(len(draft.edges), "edge")
    mapped = counted(len(mappings), "mapping")
    return {
        _PORTS: f"{nodes}, {counted(len(ports), 'port')}",
        _EDGES: edges,
        _REQUIRED: f"{mapped}, {required:,} of them required",
        _MAPPINGS: f"{mapped}, {provided:,} of them from variables" if provided else mapped,
        _TYPES: f"{edges}, {mapped}",
        _SOUND: f"{nodes} with ids of their own, no cycle, 1 start, {counted(ends, 'end')}, "
        "all reachable",
    }


# -- reading what may be anything -------------------------------------------------------------------


def _read(shape: _Shape) -> tuple[Graph, list[Issue]]:
    """The graph with what could not be read left empty, and an issue for each such thing.

    Nodes without an id and edges without their ends are left out.
    """
    issues: list[Issue] = []
    nodes = [_node(raw, f"nodes[{index}]", issues) for index, raw in enumerate(shape.nodes)]
    edges = [_edge(raw, f"edges[{index}]", issues) for index, raw in enumerate(shape.edges)]
    return Graph([node for node in nodes if node], [edge for edge in edges if edge]), issues


def _node(raw: Raw, path: str, issues: list[Issue]) -> GraphNode | None:
    keys = _object(raw)
    if keys is None:
        issues += [Issue("ports", path, "it is no object"), Issue("node", path, "it is no object")]
        return None
    node_id = _value(keys, "id", str, "node", path, issues)
    name = path if node_id is None else quote(node_id)
    node_type = _value(keys, "type", str, "node", name, issues)
    ports = _value(keys, "ports", Ports, "ports", name, issues)
    mappings = _value(keys, "variable_mappings", dict[str, PortMapping], "mapping", name, issues)
    if node_id is None:
        return None
    data = keys.get("data", Raw(b"{}"))
    ports, mappings = ports or Ports(), mappings or {}
    return GraphNode(node_id, node_type or "", ports, data, variable_mappings=mappings)


def _edge(raw: Raw, path: str, issues: list[Issue]) -> GraphEdge | None:
    keys = _object(raw)
    if keys is None:
        issues.append(Issue("edge", path, "it is no object"))
        return None
    source, target, source_port, target_port = (
        _value(keys, key, str, "edge", path, issues)
        for key in ("source", "target", "source_port", "target_port")
    )
    data_type = _value(keys, "data_type", str, "types", path, issues)
    if source is None or target is None:
        return None
    # A missing type is reported elsewhere: "any" agrees with everything.
    data_type = "any" if data_type is None else data_type
    return GraphEdge(
        source, target, source_port or "", target_port=target_port or "", data_type=data_type
    )


def _object(raw: Raw) -> dict[str, Raw] | None:
    try:
        return _keys.decode(raw)
    except msgspec.ValidationError:
        return None


def _value(
    keys: Mapping[str, Raw], key: str, kind: type[_T], code: str, path: str, issues: list[Issue]
) -> _T | None:
    """The value of a key; where it cannot be read, None and one more issue."""
    if key not in keys:
        issues.append(Issue(code, path, f"it has no {key}"))
        return None
    try:
        return msgspec.json.decode(keys[key], type=kind)
    except msgspec.ValidationError as error:
        issues.append(Issue(code, path, f"its {key} cannot be read: {_reason(error)}"))
        return None


def _reason(error: Exception) -> str:
    """What the decoder said, which may repeat untrusted text."""
    return quote(str(error), 200)[1:-1]
