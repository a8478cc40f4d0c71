"""A plan: everything about a draft that follows from a workflow's structure (design section 3).

It holds places, ports and texts of the converter's own, and nothing of the bot's data: no id, no
prompt, no position. `worker.core.workflow.draft` writes a draft by it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, Final

import msgspec
from msgspec import Raw

from worker.core.codes import WarningCode
from worker.core.workflow.roles import Role, Value
from worker.core.workflow.v2 import Port, Ports, PortType
from worker.core.workflow.wiring import Warned, Wiring

CHECK_EVERY: Final = 64
"""Of the drafts of one plan, the first and then one in so many go through the checklist."""


class Output(msgspec.Struct, frozen=True, gc=False):
    """A port of the node at `place`; new nodes come after V1's. In data it stands for its selector."""

    place: int
    port: str


class Template(msgspec.Struct, frozen=True, gc=False):
    """A text in data: outputs stand for their variables (`{{id.port}}`)."""

    parts: tuple[str | Output, ...]


class Mapped(msgspec.Struct, frozen=True, gc=False):
    """An input port, and the output that it takes its value from."""

    port: str
    source: Output
    type: PortType = "string"


class Flow(msgspec.Struct, frozen=True, gc=False):
    """What an edge carries: from an output port to an input port, and of which type."""

    source: Output
    target: Output
    data_type: PortType = "string"


class PlannedNode(msgspec.Struct, frozen=True, gc=False):
    """A node; `prompt` is its prompt where that is the plan's own.

    `written` is `ports` as a draft gets them: JSON where they are those of its type.
    """

    type: str
    ports: Ports
    written: Ports | Raw
    mappings: tuple[Mapped, ...]
    prompt: Template | None = None


class NewNode(PlannedNode, frozen=True, gc=False, kw_only=True):
    """A node that V1 did not have, left of the node at place `beside`.

    Its id is `pattern` with the first number that is free for its `{}`. In `data` an `Output` and a
    `Template` stand for texts with ids.
    """

    pattern: str
    beside: int
    data: Mapping[str, Any]


class PlannedEdge(msgspec.Struct, frozen=True, gc=False):
    """An edge between the nodes at two places; `keys`, which like edges share, are all but its ids."""

    source: int
    target: int
    keys: Mapping[str, Any]


class Plan(msgspec.Struct, frozen=True):
    """Nodes and edges in the order of the workflow's lists, new ones behind them.

    `order` is V1's order of execution, `drawn` its edges as (source, target), `warnings` are in order.
    """

    order: tuple[int, ...]
    drawn: tuple[tuple[int, int], ...]
    nodes: tuple[PlannedNode, ...]
    new_nodes: tuple[NewNode, ...]
    edges: tuple[PlannedEdge, ...]
    new_edges: tuple[PlannedEdge, ...]
    warnings: tuple[Warned, ...]

    @property
    def size(self) -> int:
        """About how much there is of it."""
        nodes = self.nodes + self.new_nodes
        ports = (len(one.ports.inputs) + len(one.mappings) for one in nodes)
        return len(nodes) + len(self.edges) + len(self.new_edges) + sum(ports)


class KeptPlan:
    """A plan that is kept, with what is known of its drafts.

    `passed` is what a target's rule read of the last that passed the checklist, None before. `outline` is
    what a target made of the graph of one of them, to execute the others by.
    """

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.passed: object = None
        self.outline: object = None
        self._drafts = 0

    def __eq__(self, other: object) -> bool:
        return isinstance(other, KeptPlan) and self.plan == other.plan

    __hash__ = None  # type: ignore[assignment]

    def is_due(self, reading: object) -> bool:
        """Whether this draft, of which that was read, goes through the checklist.

        Until one like it passed all do, then one in so many. Such a one is then read for the outline as
        well.
        """
        self._drafts += 1
        if self.passed == reading and self._drafts % CHECK_EVERY:
            return False
        self.outline = None
        return True


class _Gathered:
    """What is being gathered for one of V1's nodes."""

    def __init__(self, role: Role) -> None:
        self.role = role
        self.mappings: dict[str, Mapped] = {}
        self.extra_inputs: list[Port] = []
        self.after: dict[int, str] = {}  # source → its `after` port
        self.prompt: Template | None = None

    def map(self, port: str, source: Output, data_type: PortType = "string") -> None:
        self.mappings[port] = Mapped(port, source, data_type)

    def free_port(self) -> str:
        """The first of `after`, `after_2`, … that is no port of it yet."""
        taken = {port.name for port in (*self.role.ports.inputs, *self.extra_inputs)}
        name, number = "after", 1
        while name in taken:
            number += 1
            name = f"after_{number}"
        return name

    def planned(self, node_type: str) -> PlannedNode:
        mappings, ports = tuple(self.mappings.values()), self.role.ports
        if not self.extra_inputs:
            return PlannedNode(node_type, ports, self.role.ports_json, mappings, self.prompt)
        ports = Ports((*ports.inputs, *self.extra_inputs), ports.outputs)
        return PlannedNode(node_type, ports, ports, mappings, self.prompt)


class Planner:
    """Gathers what a target says of mappings, edges and new nodes, then gives the plan.

    `flows` says what an edge of V1 (source, target) carries: `map` fills it, and a target may lead an
    edge elsewhere there. An edge along which nothing flows gets an input port that only fixes the order.
    `message` is the output that holds the user's message.
    """

    def __init__(self, wiring: Wiring) -> None:
        self.wiring = wiring
        self.message = Output(wiring.start, wiring.roles[wiring.start].gives["message"])
        self.flows: dict[tuple[int, int], Flow] = {}
        self.nodes = [_Gathered(role) for role in wiring.roles]
        self.types = list(wiring.types)
        self._new_nodes: list[NewNode] = []
        self._new_edges: list[Flow] = []
        self._warnings = list(wiring.warnings)

    def warn(
        self, code: WarningCode, node: int | None, message: str, *names: tuple[int, ...]
    ) -> None:
        """Note a warning about a node of V1, or about the whole workflow."""
        self._warnings.append(Warned(code, node, message, names))

    def warn_of_empty_template(self, place: int) -> None:
        """Warn of an LLM with a context for which V1 has a template of its own."""
        message = "where a search finds nothing V1 leaves the context line out; the draft keeps it"
        self.warn("empty_template", place, message)

    def given(self, value: Value, place: int) -> Output:
        """The port by which a node gives a value."""
        return Output(place, self.wiring.roles[place].gives[value])

    def taken(self, value: Value, place: int) -> Output:
        """The port by which a node takes a value."""
        return Output(place, self.wiring.roles[place].takes[value])

    def map(self, value: Value, source: int, target: int) -> None:
        """Map the port by which `target` takes a value to the one by which `source` gives it.

        An edge between the two carries it; the first value that is mapped, if there are several.
        """
        flow = Flow(self.given(value, source), self.taken(value, target))
        self.nodes[target].map(flow.target.port, flow.source)
        self.flows.setdefault((source, target), flow)

    def map_message(self) -> None:
        """Map the start's message to every node that takes it."""
        for place, role in enumerate(self.wiring.roles):
            if "message" in role.takes:
                self.map("message", self.wiring.start, place)

    def map_and_connect(self, value: Value, source: int, target: int) -> None:
        """`map`, and an edge for it where V1's picture has none."""
        self.map(value, source, target)
        if (source, target) not in self.wiring.connected:
            self._new_edges.append(self.flows[source, target])

    def connect(self, source: Output, target: Output, data_type: PortType = "string") -> None:
        """Draw an edge that V1's picture did not have."""
        self._new_edges.append(Flow(source, target, data_type))

    def add_node(
        self,
        pattern: str,
        node_type: str,
        *,
        beside: int,
        data: Mapping[str, Any],
        ports: Ports,
        mappings: Sequence[Mapped],
    ) -> int:
        """Add a node that V1 did not have; its place."""
        self._new_nodes.append(
            NewNode(
                node_type, ports, ports, tuple(mappings), pattern=pattern, beside=beside, data=data
            )
        )
        self.types.append(node_type)
        return len(self.types) - 1

    def plan(self) -> Plan:
        """The plan, with all warnings in order."""
        drawn = self.wiring.structure.edges
        flows = [self.flows.get(edge) or self._order_only(*edge) for edge in drawn]
        self._warn_of_order_only()
        return Plan(
            self.wiring.order,
            drawn,
            tuple([one.planned(self.types[place]) for place, one in enumerate(self.nodes)]),
            tuple(self._new_nodes),
            tuple(map(self._edge, flows)),
            tuple(map(self._edge, self._new_edges)),
            tuple(sorted(self._warnings, key=lambda one: one.rank)),
        )

    @property
    def next_place(self) -> int:
        """The place that the next new node gets."""
        return len(self.types)

    def _edge(self, flow: Flow) -> PlannedEdge:
        source, target = flow.source, flow.target
        types = self.types[source.place], self.types[target.place]
        keys = _edge_keys(source.port, target.port, flow.data_type, *types)
        return PlannedEdge(source.place, target.place, keys)

    def _order_only(self, source: int, target: int) -> Flow:
        """An edge along which nothing flows: it leads to a port that nothing reads."""
        output, node = self.nodes[source].role.ports.outputs[0], self.nodes[target]
        given = Output(source, output.name)
        if source not in node.after:
            name = node.after[source] = node.free_port()
            node.extra_inputs.append(after_port(name, output.type))
            node.map(name, given, output.type)
        return Flow(given, Output(target, node.after[source]), output.type)

    def _warn_of_order_only(self) -> None:
        """Name the edges that seem to carry something between two nodes, and do not."""
        roles, start, end = self.wiring.roles, self.wiring.start, self.wiring.end
        for place, node in enumerate(self.nodes):
            silent = tuple(
                source
                for source in node.after
                if source != start
                and not ("context" in roles[place].takes and "context" in roles[source].gives)
            )
            if silent and place != end:
                self.warn("order_only_edge", place, "V1 passes nothing on from %s", silent)


def after_port(name: str, port_type: PortType) -> Port:
    """An input port that only fixes the order."""
    return Port(name, port_type, False, "실행 순서만 정하는 연결", "순서")


@lru_cache(1024)
def _edge_keys(
    source_port: str, target_port: str, data_type: PortType, source_type: str, target_type: str
) -> Mapping[str, Any]:
    return {
        "source_port": source_port,
        "target_port": target_port,
        "data_type": data_type,
        "type": "custom",
        "data": Raw(msgspec.json.encode({"source_type": source_type, "target_type": target_type})),
    }
