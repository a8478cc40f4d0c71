"""A draft's graph made ready to run: its nodes in order, their inputs and the ways out of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec
from msgspec import Raw

from worker.core.codes import quote
from worker.core.engine.registry import LOOPS, Registry
from worker.core.engine.rules import Rules
from worker.core.workflow.node_types import CustomNode, Node, variable_input
from worker.core.workflow.order import run_order
from worker.core.workflow.v2 import (
    RESERVED_IDS,
    DrawnEdge,
    DrawnGraph,
    DrawnNode,
    Port,
    PortMapping,
    Ports,
    split_selector,
)
from worker.errors import BotError


class Input(msgspec.Struct, frozen=True, gc=False):
    """An input port: its value is the output `output` of `source` (the rank of a step, or a prefix).

    Where that has none, or there is no source, it is `default`, if there is one.
    """

    port: str
    source: int | str | None
    output: str
    default: Any = None


class Exit(msgspec.Struct, frozen=True, gc=False):
    """An edge seen from its source: to the step of rank `target`."""

    port: str
    target: int


class Step(msgspec.Struct, frozen=True, gc=False):
    """What a program does with the node at `place` in the graph, whatever its id and its data are.

    `is_foreign` where its type is not built in.
    """

    place: int
    node: Node[Any]
    inputs: tuple[Input, ...]
    required: tuple[str, ...]
    exits: tuple[Exit, ...]
    is_foreign: bool


class Outline(msgspec.Struct, frozen=True):
    """What graphs have in common that differ in the ids and the data of their nodes alone.

    `steps` are in order, `roots` the ranks of those that wait for nothing.
    """

    steps: tuple[Step, ...]
    roots: tuple[int, ...]
    rules: Rules
    types: Registry


class Program(msgspec.Struct, frozen=True):
    """A draft ready to run: an outline, with the id and the data of each step.

    `inputs` are those of the outline's steps, and what their data names by itself.
    """

    outline: Outline
    ids: tuple[str, ...]
    data: tuple[Any, ...]
    inputs: tuple[tuple[Input, ...], ...]


_graph = msgspec.json.Decoder(DrawnGraph)


def decode(graph: bytes, rules: Rules, types: Registry | None = None) -> Program:
    """Make a draft's graph (JSON) ready for an engine; once, for any number of messages.

    `types` are its node types and those that are installed; its own alone where none are given. This
    is not the checklist (`worker.core.workflow.graph_check`): only what the engine does not run is refused.

    Raises:
        BotError: `execution_failed`, and why.
    """
    draft = _read(graph)
    outlined = _outline(draft, rules, rules.built_in if types is None else types)
    return fill(outlined, [node.id for node in draft.nodes], [node.data for node in draft.nodes])


def outline(graph: bytes, rules: Rules, types: Registry) -> Outline:
    """What a graph (JSON) has in common with others of its ports, mappings and edges.

    Raises:
        BotError: `execution_failed`, and why.
    """
    return _outline(_read(graph), rules, types)


def fill(outlined: Outline, ids: Sequence[str], data: Sequence[bytes | Raw]) -> Program:
    """Make the graph ready whose nodes have these ids and data (JSON), in its order.

    Raises:
        BotError: `execution_failed`, and why.
    """
    names = [ids[step.place] for step in outlined.steps]
    rank = {node_id: index for index, node_id in enumerate(names)}
    read, inputs = [], []
    for node_id, step in zip(names, outlined.steps, strict=True):
        read.append(value := _data(node_id, step.node, data[step.place]))
        selectors = step.node.variables(value)
        more = tuple(_variables(node_id, selectors, rank)) if selectors else ()
        inputs.append(step.inputs + more)
    return Program(outlined, tuple(names), tuple(read), tuple(inputs))


def _read(graph: bytes) -> DrawnGraph:
    try:
        return _graph.decode(graph)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise _refused(f"the graph cannot be read: {error}") from error


def _outline(draft: DrawnGraph, rules: Rules, types: Registry) -> Outline:
    nodes = {node.id: node for node in draft.nodes}
    if len(nodes) < len(draft.nodes):
        raise _refused("two nodes have the same id")
    order = _order(nodes, draft.edges)
    if (why := rules.refuse(draft)) is not None:
        raise _refused(why)
    rank = {node_id: index for index, node_id in enumerate(order)}
    place = {node_id: index for index, node_id in enumerate(nodes)}
    exits: dict[str, list[Exit]] = {node_id: [] for node_id in order}
    for edge in draft.edges:
        exits[edge.source].append(Exit(edge.source_port, rank[edge.target]))
    entered = {edge.target for edge in draft.edges}
    steps = []
    for node_id in order:
        node = nodes[node_id]
        node_type = _type(node, types)
        is_foreign = rules.built_in.get(node.type) is not node_type
        ports = _seen_ports(node.ports, node_type, is_foreign)
        inputs = tuple(_inputs(node_id, rules.mappings(draft, node), ports, rank))
        required = _required(node.ports, node_type.ports)
        ways = tuple(exits[node_id])
        steps.append(Step(place[node_id], node_type, inputs, required, ways, is_foreign))
    roots = (index for index, node_id in enumerate(order) if node_id not in entered)
    return Outline(tuple(steps), tuple(roots), rules, types)


def _refused(why: str) -> BotError:
    return BotError("execution_failed", why)


def _order(nodes: Mapping[str, DrawnNode], edges: Sequence[DrawnEdge]) -> tuple[str, ...]:
    """The order in which the nodes run; BotError if there is none."""
    for index, edge in enumerate(edges):
        if edge.source not in nodes or edge.target not in nodes:
            raise _refused(f"edges[{index}] leads from or to a node that does not exist")
    order = run_order(nodes, ((edge.source, edge.target) for edge in edges))
    if len(order) < len(nodes):
        raise _refused("the edges form a cycle")
    return order


def _type(node: DrawnNode, types: Registry) -> Node[Any]:
    if node.type in LOOPS:
        loop = f"a loop (type {quote(node.type)})"
        raise _refused(f"node {quote(node.id)} is {loop}: loops are not executed")
    if (node_type := types.get(node.type)) is None:
        message = f"node {quote(node.id)}: no node type {quote(node.type)} is registered"
        raise _refused(message)
    return node_type


def _data(node_id: str, node_type: Node[Any], data: bytes | Raw) -> Any:
    """A node's data as its type reads it."""
    if node_id in RESERVED_IDS:
        raise _refused(f"the id of node {quote(node_id)} is reserved")
    try:
        return node_type.read(data)
    except msgspec.DecodeError as error:
        name = quote(node_id)
        raise _refused(f"the data of node {name} does not fit its type: {error}") from error


def _seen_ports(drawn: Ports, node_type: Node[Any], is_foreign: bool) -> Sequence[Port]:
    """The input ports that a node sees: those of the graph, which know the defaults of its type.

    A type that V1 has too sees no port that it does not declare: V1 would not give it any.
    """
    if not is_foreign:
        return drawn.inputs
    declared = {port.name: port for port in node_type.ports.inputs}
    ports = {port.name: port for port in drawn.inputs}
    if isinstance(node_type, CustomNode):
        ports = {name: port for name, port in ports.items() if name in declared}
    for name, port in declared.items():
        if name not in ports or ports[name].given_default is None:
            ports[name] = port
    return tuple(ports.values())


def _inputs(
    node_id: str,
    mappings: Mapping[str, PortMapping],
    ports: Sequence[Port],
    rank: Mapping[str, int],
) -> Iterator[Input]:
    """The inputs that may have a value, in port order."""
    for port in ports:
        mapping = mappings.get(port.name)
        source, output = _source(node_id, mapping.variable, rank) if mapping else (None, "")
        default = port.given_default
        if source is not None or default is not None:
            yield Input(port.name, source, output, default)


def _variables(node_id: str, selectors: Sequence[str], rank: Mapping[str, int]) -> Iterator[Input]:
    """The inputs that a node's data names by itself."""
    for selector in selectors:
        source, output = _source(node_id, selector, rank)
        if source is not None:
            yield Input(variable_input(selector), source, output)


def _source(node_id: str, selector: str, rank: Mapping[str, int]) -> tuple[int | str | None, str]:
    """Where a selector leads; a node never sees the outputs of one that runs after it."""
    name, output = split_selector(selector)
    source = rank.get(name, name)
    return (None if isinstance(source, int) and source >= rank[node_id] else source), output


def _required(drawn: Ports, declared: Ports) -> tuple[str, ...]:
    """The inputs without which a node cannot run: those of the graph, and those of its type."""
    ports = drawn.inputs + declared.inputs
    return tuple(dict.fromkeys([port.name for port in ports if port.required]))
