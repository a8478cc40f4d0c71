"""Write a plan out as a draft: nodes with ports and mappings, edges with both ends (design section 3).

A target says what is mapped, which nodes it adds and what a node's data holds; this module knows
what every draft is made of. Same calls in the same order, same bytes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec import Raw

from worker.core.codes import ConversionWarning, WarningCode
from worker.core.workflow import layout
from worker.core.workflow.config import KnowledgeConfig, LlmConfig
from worker.core.workflow.draft_edges import EdgeIds, End, Flow, connected
from worker.core.workflow.json_values import JsonObject, NodeId
from worker.core.workflow.plan import Plan, PlannedNode, listed
from worker.core.workflow.roles import Value
from worker.core.workflow.v1 import Edge
from worker.core.workflow.v2 import Port, Ports, PortType

_encode = msgspec.json.Encoder().encode


class Draft(msgspec.Struct, frozen=True):
    """A converted workflow: `graph` is its JSON, `warnings` in the order of V1's nodes."""

    graph: bytes
    warnings: tuple[ConversionWarning, ...]


class DraftNode:
    """What is being gathered for one of V1's nodes.

    `ports` are those of its type as the target declares them here, `data` what V1 normalised.
    """

    __slots__ = ("after", "data", "extra_inputs", "mappings", "planned", "ports")

    def __init__(self, planned: PlannedNode) -> None:
        self.planned = planned
        self.ports: Ports = planned.role.ports
        self.data: JsonObject = normalised_data(planned)
        self.mappings: dict[str, bytes] = {}
        self.extra_inputs: list[Port] = []
        self.after: dict[NodeId, str] = {}  # source id → its `after` port

    def free_port(self) -> str:
        """The first of `after`, `after_2`, … that is no port of it yet."""
        taken = {port.name for port in (*self.ports.inputs, *self.extra_inputs)}
        name, number = "after", 1
        while name in taken:
            number += 1
            name = f"after_{number}"
        return name


class DraftBuilder:
    """Gathers mappings, edges and new nodes, then writes the graph.

    `flows` says what an edge of V1 (source, target) carries: `map` fills it, and a target may lead an
    edge elsewhere there. An edge along which nothing flows gets an input port that only fixes the
    order. `standard` has the ports of node types as JSON, for those of their nodes that have no others.
    """

    def __init__(self, plan: Plan, standard: Mapping[str, Raw]) -> None:
        self.plan = plan
        self.workflow = plan.workflow
        self.flows: dict[tuple[NodeId, NodeId], Flow] = {}
        self.nodes = {node_id: DraftNode(planned) for node_id, planned in plan.nodes.items()}
        self.positions = layout.positions(plan.workflow)
        self._taken = set(plan.new_ids.values())
        self._new_nodes: list[bytes] = []
        self._new_edges: list[Flow] = []
        self._standard = standard

    # -- what a target says ----------------------------------------------------------------------

    def warn(self, code: WarningCode, node: NodeId | None, message: str) -> None:
        """Note a warning about a node of V1, or about the whole workflow."""
        self.plan.warn(code, node, message)

    def map(self, value: Value, source: NodeId, target: NodeId) -> None:
        """Map the port by which `target` takes a value to the one by which `source` gives it.

        An edge between the two carries it; the first value that is mapped, if there are several.
        """
        given = self.plan.nodes[source].role.gives[value]
        taken = self.plan.nodes[target].role.takes[value]
        self.nodes[target].mappings[taken] = mapping(self.plan.new_ids[source], given)
        flow = Flow(self.end(source, given), self.end(target, taken))
        self.flows.setdefault((source, target), flow)

    def map_and_connect(self, value: Value, source: NodeId, target: NodeId) -> None:
        """`map`, and an edge for it where V1's picture has none."""
        self.map(value, source, target)
        if (source, target) not in self.plan.connected:
            self.connect(*self.flows[source, target])

    def connect(self, source: End, target: End, data_type: PortType = "string") -> None:
        """Draw an edge that V1's picture did not have."""
        self._new_edges.append(Flow(source, target, data_type))

    def end(self, node_id: NodeId, port: str) -> End:
        """An edge's end at one of V1's nodes."""
        planned = self.plan.nodes[node_id]
        return End(planned.new_id, planned.node.type, port)

    def free_id(self, pattern: str) -> str:
        """A node id that is free: `pattern` with the first number (from 1) for its `{}`."""
        number = 1
        while (node_id := pattern.format(number)) in self._taken:
            number += 1
        self._taken.add(node_id)
        return node_id

    def add_node(
        self,
        node_id: str,
        node_type: str,
        *,
        beside: NodeId,
        data: Mapping[str, Any],
        ports: Ports,
        mappings: Mapping[str, bytes],
    ) -> None:
        """Add a node that V1 did not have, left of one of V1's."""
        keys = {
            "id": node_id,
            "type": node_type,
            "position": layout.beside(self.positions[beside]),
            "data": {"title": node_id, "type": node_type, **data},
            "ports": ports,
            "variable_mappings": _mappings_json(mappings),
        }
        self._new_nodes.append(_encode(keys))

    # -- writing ---------------------------------------------------------------------------------

    def draft(self) -> Draft:
        """The draft, with all warnings."""
        edges = self._edges()
        keys = dict(self.workflow.keys)
        keys["nodes"] = Raw(_encode([self._node(node) for node in self.nodes.values()]))
        if self._new_nodes:
            keys["nodes"] = Raw(
                bytes(keys["nodes"])[:-1] + b"," + b",".join(self._new_nodes) + b"]"
            )
        keys["edges"] = Raw(_encode(edges))
        return Draft(_encode(keys), self.plan.warnings_in_order())

    def _node(self, node: DraftNode) -> JsonObject:
        planned = node.planned
        keys = dict(planned.node.keys)
        keys["id"] = Raw(_encode(planned.new_id))
        keys["type"] = Raw(_encode(planned.node.type))
        keys["position"] = self.positions[planned.id]
        keys["data"] = Raw(_encode(node.data))
        keys["ports"] = self._ports_json(node)
        keys["variable_mappings"] = _mappings_json(node.mappings)
        return keys

    def _ports_json(self, node: DraftNode) -> Raw:
        standard = self._standard.get(node.planned.node.type)
        if standard is not None and not node.extra_inputs and node.ports is node.planned.role.ports:
            return standard
        return Raw(_encode(Ports((*node.ports.inputs, *node.extra_inputs), node.ports.outputs)))

    def _edges(self) -> list[JsonObject]:
        unique = EdgeIds(self.workflow.edges)
        edges = []
        for index, edge in enumerate(self.workflow.edges):
            flow = self.flows.get((edge.source, edge.target))
            keys = dict(edge.keys)
            keys["id"] = unique.of(index, edge, self.warn)
            edges.append(connected(keys, flow or self._order_only(edge)))
        for flow in self._new_edges:
            wanted = f"e-{flow.source.node}-{flow.target.node}"
            edges.append(connected({"id": Raw(_encode(unique.free(wanted)))}, flow))
        self._warn_of_order_only()
        return edges

    def _order_only(self, edge: Edge) -> Flow:
        """An edge along which nothing flows: it leads to a port that nothing reads."""
        source, target = self.nodes[edge.source], self.nodes[edge.target]
        output = source.ports.outputs[0]
        source_id = source.planned.id
        if source_id not in target.after:
            name = target.after[source_id] = target.free_port()
            target.extra_inputs.append(after_port(name, output.type))
            target.mappings[name] = mapping(source.planned.new_id, output.name, output.type)
        return Flow(
            self.end(source_id, output.name),
            self.end(target.planned.id, target.after[source_id]),
            output.type,
        )

    def _warn_of_order_only(self) -> None:
        """Name the edges that seem to carry something between two nodes, and do not."""
        for target in self.nodes.values():
            if target.planned is self.plan.end:
                continue
            silent = [
                source
                for source in target.after
                if source != self.plan.start.id
                and not (
                    "context" in target.planned.role.takes
                    and "context" in self.plan.nodes[source].role.gives
                )
            ]
            if silent:
                self.warn(
                    "order_only_edge",
                    target.planned.id,
                    f"V1 passes nothing on from {listed(silent)}",
                )


def normalised_data(planned: PlannedNode) -> JsonObject:
    """A node's data with V1's normalised values written out, the rest as it was."""
    data, config = dict(planned.node.data), planned.node.config
    if isinstance(config, LlmConfig):
        data["model"] = Raw(_encode(config.model))
        data["provider"] = Raw(_encode(config.provider))
        data["prompt_template"] = Raw(_encode(config.template))
        data["temperature"] = Raw(config.temperature)
        data["max_tokens"] = Raw(config.max_tokens)
    elif isinstance(config, KnowledgeConfig):
        data["document_ids"] = Raw(_encode(config.document_ids))
        if config.dataset_id is not None:
            data["dataset_id"] = Raw(_encode(config.dataset_id))
        data["top_k"] = Raw(config.top_k)
        data["mode"] = Raw(_encode(config.mode))
    return data


def mapping(node_id: str, port: str, port_type: PortType = "string") -> bytes:
    """A mapping to an output of a node, as JSON."""
    return _encode({"variable": f"{node_id}.{port}", "value_type": port_type})


def after_port(name: str, port_type: PortType) -> Port:
    """An input port that only fixes the order."""
    return Port(name, port_type, False, "실행 순서만 정하는 연결", "순서")


def _mappings_json(mappings: Mapping[str, bytes]) -> Raw:
    return Raw(_encode({name: Raw(one) for name, one in mappings.items()}))
