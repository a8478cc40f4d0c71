"""Hold a draft against the checklist: its ports, mappings and edges (design section 3)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import reduce
from operator import or_
from typing import ClassVar, Final, Protocol

import msgspec

from worker.core.codes import Issue, quote
from worker.core.workflow.order import run_order
from worker.core.workflow.v2 import RESERVED_IDS, Graph, GraphNode, Ports, PortType, split_selector


class _PortTypes(msgspec.Struct, frozen=True):
    """Of every node, the type of each input and output port by name."""

    inputs: dict[str, dict[str, PortType]]
    outputs: dict[str, dict[str, PortType]]


_graph = msgspec.json.Decoder(Graph)
NO_TYPES: Final[Mapping[str, Declared]] = {}


class Declared(Protocol):
    """A node type that says which ports it has, as those of `worker.core.workflow.node_types` do."""

    ports: ClassVar[Ports]


DraftRule = Callable[[Graph], Iterable[Issue]]
"""What a target wants of a draft beyond the checklist; its issues have the code `target`."""


def no_more_rules(graph: Graph) -> Iterable[Issue]:  # noqa: ARG001
    """Want nothing beyond the checklist."""
    return ()


def check(
    graph: bytes, declared: Mapping[str, Declared] = NO_TYPES, rule: DraftRule = no_more_rules
) -> list[Issue]:
    """Go through the checklist for the draft in `graph` (JSON); an empty list means that it passed.

    Read from the stored bytes, not from what the converter had in mind: every node has ports; every
    edge has both ports and they exist on its nodes; every required input is mapped; every mapping
    names an existing output of an ancestor; types agree (or one is `any`); ids are unique; there is
    no cycle; one start, at least one end, all reachable. A node of a `declared` type has the ports that
    its type requires, and of the types that it declares. `rule` is the target's.
    """
    try:
        draft = _graph.decode(graph)
    except msgspec.DecodeError as error:
        return [Issue("ports", "", f"a node or an edge lacks what V2 needs: {error}")]
    return issues_of(draft, declared, rule)


def issues_of(
    draft: Graph, declared: Mapping[str, Declared] = NO_TYPES, rule: DraftRule = no_more_rules
) -> list[Issue]:
    """What is wrong with a draft that could be read.

    Where two nodes share an id nothing else is looked at, and on a cycle there are no ancestors: a
    mapping may then name any node's output.
    """
    nodes = {node.id: node for node in draft.nodes}
    if len(nodes) < len(draft.nodes):
        doubled = [
            node_id for node_id, n in Counter(node.id for node in draft.nodes).items() if n > 1
        ]
        return [Issue("ids", quote(node_id), "two nodes have this id") for node_id in doubled]
    types = _PortTypes(
        inputs={n.id: {port.name: port.type for port in n.ports.inputs} for n in draft.nodes},
        outputs={n.id: {port.name: port.type for port in n.ports.outputs} for n in draft.nodes},
    )
    issues = [
        *_check_declared(draft, declared),
        *_check_edges(draft, types),
        *_check_ends(draft),
        *_check_required(draft, declared),
        *rule(draft),
    ]
    ancestors = _ancestors(draft, nodes)
    if len(ancestors) < len(nodes):
        issues.append(Issue("cycle", "", "the edges form a cycle"))
        issues.extend(_check_mappings(draft, types, None))
    else:
        issues.extend(_check_reachable(draft, ancestors))
        issues.extend(_check_mappings(draft, types, ancestors))
    return issues


def _check_declared(draft: Graph, declared: Mapping[str, Declared]) -> Iterator[Issue]:
    for node in draft.nodes:
        node_type = declared.get(node.type)
        if node_type is None:
            continue
        for way, drawn, wanted in (
            ("input", node.ports.inputs, node_type.ports.inputs),
            ("output", node.ports.outputs, node_type.ports.outputs),
        ):
            types = {port.name: port.type for port in drawn}
            for port in wanted:
                found = types.get(port.name)
                if found is None and port.required:
                    message = f"its type requires the {way} port {quote(port.name)}"
                    yield Issue("ports", quote(node.id), message)
                elif found is not None and not _agree(found, port.type):
                    path = f"{quote(node.id)}.{quote(port.name)}"
                    yield Issue("types", path, f"{found} does not fit its type's {port.type}")


def _check_edges(draft: Graph, types: _PortTypes) -> Iterator[Issue]:
    for index, edge in enumerate(draft.edges):
        path = f"edges[{index}]"
        if edge.source not in types.outputs or edge.target not in types.inputs:
            yield Issue("edge", path, "it leads from or to a node that does not exist")
            continue
        source_type = types.outputs[edge.source].get(edge.source_port)
        target_type = types.inputs[edge.target].get(edge.target_port)
        if source_type is None:
            yield Issue("edge", path, f"its source has no output port {quote(edge.source_port)}")
        elif target_type is None:
            yield Issue("edge", path, f"its target has no input port {quote(edge.target_port)}")
        elif why := _disagree(source_type, target_type, edge.data_type):
            yield Issue("types", path, why)


def _disagree(given: str, wanted: str, said: str) -> str | None:
    """Why a value's type, its port's and what is said of it do not agree; None if they do."""
    if given == wanted == said:
        return None
    if not _agree(given, wanted):
        return f"{given} does not fit {wanted}"
    if not _agree(said, given):
        return f"it says {quote(said)}, its source gives {given}"
    return None


def _agree(one: str, other: str) -> bool:
    return one == other or "any" in (one, other)


def _check_ends(draft: Graph) -> Iterator[Issue]:
    kinds = Counter(node.type for node in draft.nodes)
    if kinds["start"] != 1:
        yield Issue("start", "", f"{kinds['start']} start nodes; exactly one is needed")
    if kinds["end"] < 1:
        yield Issue("end", "", "no end node")


def _ancestors(draft: Graph, nodes: Mapping[str, GraphNode]) -> dict[str, int]:
    """For every node that no cycle holds back, its ancestors as a bit set over `draft.nodes`."""
    bit = {node.id: 1 << index for index, node in enumerate(draft.nodes)}
    ends = [(one.source, one.target) for one in draft.edges]
    edges = [(one, other) for one, other in ends if one in nodes and other in nodes]
    sources: dict[str, list[str]] = {node_id: [] for node_id in nodes}
    for source, target in edges:
        sources[target].append(source)
    found: dict[str, int] = {}
    for node_id in run_order(nodes, edges):
        before = sources[node_id]
        found[node_id] = reduce(or_, [found[one] | bit[one] for one in before], 0)
    return found


def _check_reachable(draft: Graph, ancestors: Mapping[str, int]) -> Iterator[Issue]:
    start_bits = sum(1 << index for index, node in enumerate(draft.nodes) if node.type == "start")
    for node in draft.nodes:
        if node.type != "start" and not ancestors[node.id] & start_bits:
            yield Issue("reachable", quote(node.id), "it cannot be reached from the start")


def _check_required(draft: Graph, declared: Mapping[str, Declared]) -> Iterator[Issue]:
    for node in draft.nodes:
        required = {port.name for port in node.ports.inputs if port.required}
        if node_type := declared.get(node.type):
            drawn = {port.name for port in node.ports.inputs}
            required |= {p.name for p in node_type.ports.inputs if p.required and p.name in drawn}
        for port in node.ports.inputs:
            if port.name in required and port.name not in node.variable_mappings:
                yield Issue("required", quote(node.id), f"its input {port.name} is not mapped")


def _check_mappings(
    draft: Graph, types: _PortTypes, ancestors: Mapping[str, int] | None
) -> Iterator[Issue]:
    bit = {node.id: 1 << index for index, node in enumerate(draft.nodes)}
    for node in draft.nodes:
        for name, mapping in node.variable_mappings.items():
            source_id, source_port = split_selector(mapping.variable)
            wanted = types.inputs[node.id].get(name)
            given = types.outputs.get(source_id, {}).get(source_port)
            if wanted is None:
                fault = Issue("mapping", quote(name), "there is no such input port")
            elif source_id in RESERVED_IDS:
                continue
            elif given is None:
                fault = Issue("mapping", quote(name), f"no output {quote(mapping.variable)} exists")
            elif ancestors is not None and not ancestors[node.id] & bit[source_id]:
                fault = Issue("mapping", quote(name), f"{quote(source_id)} is no ancestor")
            elif why := _disagree(given, wanted, mapping.value_type):
                fault = Issue("types", quote(name), why)
            else:
                continue
            yield Issue(fault.code, f"{quote(node.id)}.{fault.path}", fault.message)
