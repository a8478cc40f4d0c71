"""Convert a V1 workflow to a V2 draft that makes the same calls and gives the same answer.

What V1 does without being told (every knowledge node searches for the message, an LLM sees every
search before it, the end takes the first response) becomes mappings and edges; each place where
that differs from V1's picture becomes a warning. Same input and version, same bytes (design 3).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import cache
from typing import Any, Final, NamedTuple

import msgspec
from msgspec import Raw

from worker.core.codes import ConversionWarning, WarningCode, quote
from worker.core.workflow import layout, v1, v2
from worker.core.workflow.config import CustomConfig, Defaults, KnowledgeConfig, LlmConfig
from worker.core.workflow.node_types import CustomNode
from worker.core.workflow.roles import ROLES, Role, Value
from worker.core.workflow.v1 import Edge, JsonObject, Node, NodeId, Workflow, id_text, quote_id
from worker.core.workflow.v2 import TEXT_JOIN, Port, Ports
from worker.errors import BotError

CONVERTER_VERSION: Final = "2"

SEPARATOR: Final = "\n\n"
NO_LLM_ANSWER: Final = "워크플로우가 완료되었지만 응답을 생성할 수 없습니다."
# V1's own prompts for an empty template, with and without something found.
TEMPLATE_WITH_CONTEXT: Final = "Context: {context}\n\nQuestion: {question}\n\nAnswer:"
TEMPLATE_WITHOUT_CONTEXT: Final = "Question: {question}\n\nAnswer:"
# Placeholders that the platform's V2 renders and V1 leaves alone.
_V2_PLACEHOLDERS: Final = ("{query}", "{system_prompt}")
# One text-join input for each search that each LLM sees: bounds a draft's size, which may otherwise
# grow with the square of the workflow's.
MAX_JOIN_INPUTS: Final = 20_000

_NULL: Final = Raw(b"null")
_CUSTOM: Final = Raw(b'"custom"')
_encode = msgspec.json.Encoder().encode


class Draft(msgspec.Struct, frozen=True):
    """A converted workflow: `graph` is its JSON, `warnings` in the order of V1's nodes."""

    graph: bytes
    warnings: tuple[ConversionWarning, ...]


def convert_text(text: bytes, defaults: Defaults) -> Draft:
    """Decode the column's text, convert it and hold the draft against the checklist.

    Raises:
        BotError: V1 refuses the workflow (its code says why), or the draft fails the checklist
            (`internal_error`: the fault is ours, and nothing is stored).
    """
    return convert_checked(v1.decode(text, defaults))


def convert_checked(workflow: Workflow) -> Draft:
    """Convert a decoded workflow and hold the draft against the checklist.

    Raises:
        BotError: as `convert_text`.
    """
    draft = convert(workflow)
    if issues := v2.check(draft.graph, _own_types(workflow)):
        listed = "; ".join(f"{issue.path}: {issue.message}" for issue in issues[:5])
        raise BotError("internal_error", f"the draft fails the checklist: {listed}")
    return draft


def convert(workflow: Workflow) -> Draft:
    """The draft of a workflow that `v1.decode` returned.

    Raises:
        BotError: `too_large`, where its LLM nodes see more searches together than a draft can hold.
    """
    return _Conversion(workflow).draft()


class _Target:
    """What is being gathered for one node of the draft."""

    __slots__ = ("after", "context", "extra_inputs", "mappings", "node", "response", "role")

    def __init__(self, node: Node) -> None:
        self.node = node
        self.role = _role(node)
        self.context: tuple[NodeId, ...] = ()  # the nodes that its context is made of
        self.response: NodeId | None = None  # the node whose response it takes
        self.mappings: dict[str, bytes] = {}
        self.extra_inputs: list[Port] = []
        self.after: dict[NodeId, str] = {}  # source id → its `after` port

    def free_port(self) -> str:
        """The first of `after`, `after_2`, … that is no port of it yet."""
        taken = {port.name for port in (*self.role.ports.inputs, *self.extra_inputs)}
        name, number = "after", 1
        while name in taken:
            number += 1
            name = f"after_{number}"
        return name


class _Conversion:
    """One conversion: reads the workflow, gathers mappings and edges, then writes the graph."""

    def __init__(self, workflow: Workflow) -> None:
        self.workflow = workflow
        self.place = {node_id: place for place, node_id in enumerate(workflow.order)}
        self.nodes = {node.id: node for node in workflow.nodes}
        self.new_ids = new_ids(workflow.nodes)
        self.taken = set(self.new_ids.values())
        self.targets = {node.id: _Target(node) for node in workflow.nodes}
        self.connected = {(edge.source, edge.target) for edge in workflow.edges}
        self.positions = layout.positions(workflow)
        self.warnings: list[tuple[NodeId | None, ConversionWarning]] = []
        self.new_nodes: list[bytes] = []
        self.new_edges: list[_NewEdge] = []
        self.join_inputs = 0
        self.in_order = [self.targets[node_id] for node_id in workflow.order]
        self.searches = [one.node.id for one in self.in_order if "context" in one.role.gives]
        self.llms = [one.node.id for one in self.in_order if "response" in one.role.gives]
        self.start = next(one.node for one in self.in_order if one.node.type == "start")
        self.end = next(one.node for one in self.in_order if one.node.type == "end")

    def draft(self) -> Draft:
        for node in self.workflow.nodes:
            if self.new_ids[node.id] != node.id:
                why = "" if isinstance(node.id, str) else ": in V1 it is a number"
                new_id = quote(self.new_ids[node.id])
                self._warn("renamed_node", node.id, f"renamed to {new_id}{why}")
            if "message" in self.targets[node.id].role.takes:
                self._map("message", self.start.id, node.id)
        for target in self.in_order:
            if "context" in target.role.takes:
                self._map_context(target)
            if "response" in target.role.takes and target.node is not self.end:
                self._map_response(target)
        self._map_answer()
        edges = self._edges()
        keys = dict(self.workflow.keys)
        keys["nodes"] = Raw(_encode([self._node(node) for node in self.workflow.nodes]))
        if self.new_nodes:
            keys["nodes"] = Raw(bytes(keys["nodes"])[:-1] + b"," + b",".join(self.new_nodes) + b"]")
        keys["edges"] = Raw(_encode(edges))
        order: dict[NodeId | None, int] = {
            node.id: index for index, node in enumerate(self.workflow.nodes)
        }
        ordered = sorted(self.warnings, key=lambda entry: order.get(entry[0], -1))
        return Draft(_encode(keys), tuple(warning for _, warning in ordered))

    # -- what flows where ------------------------------------------------------------------------

    def _map(self, value: Value, source: NodeId, target: NodeId) -> tuple[str, str]:
        """Map the port by which `target` takes a value to the one by which `source` gives it."""
        source_port = self.targets[source].role.gives[value]
        target_port = self.targets[target].role.takes[value]
        self.targets[target].mappings[target_port] = _mapping(self.new_ids[source], source_port)
        return source_port, target_port

    def _map_and_connect(self, value: Value, source: NodeId, target: NodeId) -> None:
        source_port, target_port = self._map(value, source, target)
        if (source, target) not in self.connected:
            self.new_edges.append(
                _NewEdge(self._end(source, source_port), self._end(target, target_port))
            )

    def _end(self, node_id: NodeId, port: str) -> _End:
        return _End(self.new_ids[node_id], self.nodes[node_id].type, port)

    def _map_context(self, target: _Target) -> None:
        """Map the context of a node to what V1 would put into it, if anything."""
        node = target.node
        wanted: Sequence[NodeId] = ()
        if isinstance(node.config, LlmConfig):
            wanted = node.config.use_context_from
        target.context = tuple(
            source
            for source in (wanted or self.searches)
            if source in self.nodes
            and "context" in self.targets[source].role.gives
            and self.place[source] < self.place[node.id]
        )
        self._warn_of_context(node.id, target.context)
        if len(target.context) == 1:
            self._map_and_connect("context", target.context[0], node.id)
        elif target.context:
            self._join(target)

    def _warn_of_context(self, target: NodeId, sources: Sequence[NodeId]) -> None:
        hidden = [
            source for source in dict.fromkeys(sources) if (source, target) not in self.connected
        ]
        if hidden:
            self._warn(
                "implicit_context",
                target,
                f"V1 gives it what {_listed(hidden)} found, without an edge",
            )
        unused = [
            edge.source
            for edge in self.workflow.edges
            if edge.target == target
            and "context" in self.targets[edge.source].role.gives
            and edge.source not in sources
        ]
        if unused:
            named = _listed(dict.fromkeys(unused))
            self._warn(
                "context_not_used", target, f"use_context_from leaves out {named}, an edge or not"
            )

    def _map_response(self, target: _Target) -> None:
        """Map the response that a node of an installation's own takes: the first before it, if any."""
        if not self.llms or self.place[self.llms[0]] >= self.place[target.node.id]:
            return
        first = self.llms[0]
        target.response = first
        if (first, target.node.id) not in self.connected:
            self._warn(
                "implicit_response",
                target.node.id,
                f"V1 gives it what {quote_id(first, 40)} said, the first LLM to run, without an edge",
            )
        self._map_and_connect("response", first, target.node.id)

    def _join(self, target: _Target) -> None:
        """Put a text-join in front of a node's context."""
        sources, port = target.context, target.role.takes["context"]
        self.join_inputs += len(sources)
        if self.join_inputs > MAX_JOIN_INPUTS:
            raise BotError(
                "too_large",
                f"its LLM nodes see more than {MAX_JOIN_INPUTS:,} searches together, "
                "which a draft would have to spell out",
            )
        join = self._free_id("text-join-{}")
        names = [f"text_{number}" for number in range(1, len(sources) + 1)]
        outputs = [self.targets[source].role.gives["context"] for source in sources]
        self._add_node(
            join,
            beside=target.node,
            default="",
            inputs=[Port(name, "string", False, "이어 붙일 텍스트", name) for name in names],
            mappings={
                name: _mapping(self.new_ids[source], output)
                for name, source, output in zip(names, sources, outputs, strict=True)
            },
        )
        for name, source, output in zip(names, sources, outputs, strict=True):
            self.new_edges.append(_NewEdge(self._end(source, output), _End(join, TEXT_JOIN, name)))
        target.mappings[port] = _mapping(join, "text")
        joined = _End(join, TEXT_JOIN, "text")
        self.new_edges.append(_NewEdge(joined, self._end(target.node.id, port)))
        self._warn(
            "join_node",
            target.node.id,
            f"{quote(join)} joins what {_listed(dict.fromkeys(sources))} found: "
            f"the platform must have the node type {TEXT_JOIN}",
        )

    def _map_answer(self) -> None:
        end = self.end.id
        if not self.llms:
            self._answer_without_llm()
            return
        first = self.llms[0]
        self.targets[end].response = first
        self._map_and_connect("response", first, end)
        shown = {
            edge.source
            for edge in self.workflow.edges
            if edge.target == end and "response" in self.targets[edge.source].role.gives
        }
        if shown != {first}:
            self._warn(
                "end_takes_first_llm",
                end,
                f"V1 answers with {quote_id(first)}, the first LLM to run",
            )

    def _answer_without_llm(self) -> None:
        """A text-join that holds V1's fixed sentence: it has no text inputs, so it gives its default.

        The edge from the start makes it reachable; its port stays unmapped, so that nothing is
        joined.
        """
        join = self._free_id("text-join-{}")
        self._add_node(
            join,
            beside=self.end,
            default=NO_LLM_ANSWER,
            inputs=[_after_port("after", "string")],
            mappings={},
        )
        start, end = self._end(self.start.id, "query"), self._end(self.end.id, "response")
        self.new_edges.append(_NewEdge(start, _End(join, TEXT_JOIN, "after")))
        self.new_edges.append(_NewEdge(_End(join, TEXT_JOIN, "text"), end))
        self.targets[self.end.id].mappings["response"] = _mapping(join, "text")
        self._warn(
            "no_llm", self.end.id, "there is no LLM: V1 always answers with its fixed sentence"
        )

    # -- edges -----------------------------------------------------------------------------------

    def _edges(self) -> list[JsonObject]:
        unique = _EdgeIds(self.workflow.edges)
        edges = []
        for index, edge in enumerate(self.workflow.edges):
            source_port, target_port, data_type = self._ports(edge)
            source, target = (
                self._end(edge.source, source_port),
                self._end(edge.target, target_port),
            )
            keys = dict(edge.keys)
            keys["id"] = unique.of(index, edge, self._warn)
            edges.append(_connect(keys, source, target, data_type))
        for source, target in self.new_edges:
            keys = {"id": Raw(_encode(unique.free(f"e-{source.node}-{target.node}")))}
            edges.append(_connect(keys, source, target))
        self._warn_of_order_only()
        return edges

    def _ports(self, edge: Edge) -> tuple[str, str, v2.PortType]:
        """The ports of one of V1's edges, and what flows there: data, or else the order alone."""
        source, target = self.targets[edge.source], self.targets[edge.target]
        gives, takes = source.role.gives, target.role.takes
        if "message" in gives and "message" in takes:
            return gives["message"], takes["message"], "string"
        if target.context == (edge.source,):
            return gives["context"], takes["context"], "string"
        if target.response == edge.source:
            return gives["response"], takes["response"], "string"
        return self._after(source, target)

    def _after(self, source: _Target, target: _Target) -> tuple[str, str, v2.PortType]:
        output = source.role.ports.outputs[0]
        source_id = source.node.id
        if source_id not in target.after:
            name = target.after[source_id] = target.free_port()
            target.extra_inputs.append(_after_port(name, output.type))
            target.mappings[name] = _mapping(self.new_ids[source_id], output.name, output.type)
        return output.name, target.after[source_id], output.type

    def _warn_of_order_only(self) -> None:
        """Name the edges that seem to carry something between two nodes, and do not."""
        for target in self.targets.values():
            if target.node is self.end:
                continue
            silent = [
                source
                for source in target.after
                if source != self.start.id
                and not (
                    "context" in target.role.takes and "context" in self.targets[source].role.gives
                )
            ]
            if silent:
                self._warn(
                    "order_only_edge",
                    target.node.id,
                    f"V1 passes nothing on from {_listed(silent)}",
                )

    # -- writing ---------------------------------------------------------------------------------

    def _node(self, node: Node) -> JsonObject:
        target = self.targets[node.id]
        keys = dict(node.keys)
        keys["id"] = Raw(_encode(self.new_ids[node.id]))
        keys["type"] = Raw(_encode(node.type))
        keys["position"] = self.positions[node.id]
        keys["data"] = Raw(_encode(self._data(target)))
        keys["ports"] = _ports_json(node.type, target.role.ports, target.extra_inputs)
        keys["variable_mappings"] = _mappings_json(target.mappings)
        return keys

    def _data(self, target: _Target) -> JsonObject:
        """The node's data with V1's normalised values written out, the rest as it was."""
        node = target.node
        data = dict(node.data)
        if isinstance(node.config, LlmConfig):
            template = self._template(node, node.config, with_context=bool(target.context))
            data["model"] = Raw(_encode(node.config.model))
            data["provider"] = Raw(_encode(node.config.provider))
            data["prompt_template"] = Raw(_encode(template))
            data["temperature"] = Raw(node.config.temperature)
            data["max_tokens"] = Raw(node.config.max_tokens)
        elif isinstance(node.config, KnowledgeConfig):
            data["document_ids"] = Raw(_encode(node.config.document_ids))
            if node.config.dataset_id is not None:
                data["dataset_id"] = Raw(_encode(node.config.dataset_id))
            data["top_k"] = Raw(node.config.top_k)
            data["mode"] = Raw(_encode(node.config.mode))
        return data

    def _template(self, node: Node, config: LlmConfig, *, with_context: bool) -> str:
        template = config.template
        if not template:
            template = TEMPLATE_WITH_CONTEXT if with_context else TEMPLATE_WITHOUT_CONTEXT
            if with_context:
                self._warn(
                    "empty_template",
                    node.id,
                    "where a search finds nothing V1 leaves the context line out; the draft keeps it",
                )
        found = [name for name in _V2_PLACEHOLDERS if name in template]
        if found:
            self._warn(
                "query_placeholder",
                node.id,
                f"its prompt holds {' and '.join(found)}: plain text in V1, a placeholder in V2",
            )
        return template

    def _add_node(
        self,
        node_id: str,
        *,
        beside: Node,
        default: str,
        inputs: list[Port],
        mappings: dict[str, bytes],
    ) -> None:
        keys = {
            "id": node_id,
            "type": TEXT_JOIN,
            "position": layout.beside(self.positions[beside.id]),
            "data": {
                "title": node_id,
                "type": TEXT_JOIN,
                "separator": SEPARATOR,
                "default": default,
            },
            "ports": _ports_json(TEXT_JOIN, v2.PORTS[TEXT_JOIN], inputs),
            "variable_mappings": _mappings_json(mappings),
        }
        self.new_nodes.append(_encode(keys))

    def _free_id(self, pattern: str) -> str:
        number = 1
        while (node_id := pattern.format(number)) in self.taken:
            number += 1
        self.taken.add(node_id)
        return node_id

    def _warn(self, code: WarningCode, node: NodeId | None, message: str) -> None:
        shown = None if node is None else id_text(node)
        self.warnings.append((node, ConversionWarning(code, shown, message)))


class _End(NamedTuple):
    """One end of an edge of the draft: a node by its new id, its type and the port."""

    node: str
    type: str
    port: str


class _NewEdge(NamedTuple):
    """An edge that V1's picture did not have."""

    source: _End
    target: _End


class _EdgeIds:
    """Gives every edge an id of its own, a text: V1 does not need one, the platform's editor does."""

    def __init__(self, edges: Iterable[Edge]) -> None:
        self._used: set[str] = set()
        self._tried: dict[str, int] = {}  # wanted id → the last number that was tried for it
        self._reserved = {v1.text_of(edge.keys.get("id")) for edge in edges}

    def of(
        self, index: int, edge: Edge, warn: Callable[[WarningCode, NodeId | None, str], None]
    ) -> Raw:
        """The id of V1's edge; a new one where it has none, no text, or one that is taken."""
        raw = edge.keys.get("id", _NULL)
        given = v1.text_of(raw)
        if given and given not in self._used:
            self._used.add(given)
            return raw
        number = v1.node_id_of(raw) if given is None else None
        ends = f"e-{id_text(edge.source)}-{id_text(edge.target)}"
        fresh = self.free(ends if number is None else id_text(number))
        if given != "" and not v1.is_null(raw):
            why = "its id was taken" if given else "its id was no text"
            warn("edge_id_replaced", edge.target, f"edges[{index}] is now {quote(fresh)}: {why}")
        return Raw(_encode(fresh))

    def free(self, wanted: str) -> str:
        """`wanted`, or `wanted` with the first number that makes it free."""
        number = self._tried.get(wanted, 1)  # ids never become free again
        candidate = wanted if number == 1 else f"{wanted}-{number}"
        while candidate in self._used or candidate in self._reserved:
            number += 1
            candidate = f"{wanted}-{number}"
        self._tried[wanted] = number
        self._used.add(candidate)
        return candidate


def new_ids(nodes: Iterable[Node]) -> dict[NodeId, str]:
    """The draft's id of every node, a text: its own, unless a selector could not name it.

    >>> new_ids([Node(node_id, "llm", {}, {}, None) for node_id in ("a.b", "a_b", 7, 7.5)])
    {'a.b': 'a_b_2', 'a_b': 'a_b', 7: '7', 7.5: '7_5'}
    """
    ids = [node.id for node in nodes]
    taken = {node_id for node_id in ids if isinstance(node_id, str)}
    new_ids: dict[NodeId, str] = {}
    for node_id in ids:
        new_id = id_text(node_id)
        if new_id is not node_id or "." in new_id or new_id in v2.RESERVED_IDS:
            wanted = f"{new_id}_node" if new_id in v2.RESERVED_IDS else new_id.replace(".", "_")
            new_id, number = wanted, 1
            while new_id in taken or new_id in v2.RESERVED_IDS:
                number += 1
                new_id = f"{wanted}_{number}"
            taken.add(new_id)
        new_ids[node_id] = new_id
    return new_ids


def _own_types(workflow: Workflow) -> dict[str, CustomNode[Any]]:
    configs = (node.config for node in workflow.nodes)
    return {one.type.type: one.type for one in configs if isinstance(one, CustomConfig)}


def _role(node: Node) -> Role:
    return node.config.type.role if isinstance(node.config, CustomConfig) else ROLES[node.type]


def _mapping(node_id: str, port: str, port_type: v2.PortType = "string") -> bytes:
    return _encode({"variable": f"{node_id}.{port}", "value_type": port_type})


def _mappings_json(mappings: dict[str, bytes]) -> Raw:
    return Raw(_encode({name: Raw(mapping) for name, mapping in mappings.items()}))


_STANDARD_PORTS: Final = {node_type: Raw(_encode(ports)) for node_type, ports in v2.PORTS.items()}


def _ports_json(node_type: str, ports: Ports, extra_inputs: Sequence[Port]) -> Raw:
    if not extra_inputs and node_type in _STANDARD_PORTS:
        return _STANDARD_PORTS[node_type]
    return Raw(_encode(Ports((*ports.inputs, *extra_inputs), ports.outputs)))


def _after_port(name: str, port_type: v2.PortType) -> Port:
    return Port(name, port_type, False, "실행 순서만 정하는 연결", "순서")


def _connect(
    keys: JsonObject, source: _End, target: _End, data_type: v2.PortType = "string"
) -> JsonObject:
    """Complete an edge's keys: where it leads, what flows, and what the platform's interface reads."""
    keys["source"] = Raw(_encode(source.node))
    keys["target"] = Raw(_encode(target.node))
    keys["source_port"] = Raw(_encode(source.port))
    keys["target_port"] = Raw(_encode(target.port))
    keys["data_type"] = Raw(_encode(data_type))
    if v1.text_of(keys.get("type")) is None:
        keys["type"] = _CUSTOM
    given = v1.object_of(keys.get("data"))
    keys["data"] = (
        _edge_data(source.type, target.type, given)
        if given
        else _new_edge_data(source.type, target.type)
    )
    return keys


@cache
def _new_edge_data(source_type: str, target_type: str) -> Raw:
    return _edge_data(source_type, target_type, {})


def _edge_data(source_type: str, target_type: str, given: JsonObject) -> Raw:
    """An edge's data as it was, with the types of both ends where it does not name them."""
    for name, node_type in (("source_type", source_type), ("target_type", target_type)):
        if v1.text_of(given.get(name)) is None:
            given[name] = Raw(_encode(node_type))
    return Raw(_encode(given))


def _listed(ids: Iterable[NodeId], limit: int = 5) -> str:
    """Ids for a person: quoted, the first few, and how many more."""
    quoted = [quote_id(node_id, 40) for node_id in ids]
    more = f" and {len(quoted) - limit} more" if len(quoted) > limit else ""
    return ", ".join(quoted[:limit]) + more
