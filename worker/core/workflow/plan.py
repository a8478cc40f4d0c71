"""A plan: everything about a draft that follows from a workflow's structure (design section 3).

It holds places, ports and texts of the converter's own, and nothing of the bot's data: no id, no
prompt, no position. `worker.core.workflow.draft` writes a draft by it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

import msgspec
from msgspec import Raw

from worker.core.codes import WarningCode
from worker.core.workflow.layout import columns
from worker.core.workflow.roles import Value
from worker.core.workflow.v2 import Port, Ports, PortType
from worker.core.workflow.wiring import Named, Phase, Warned, Wiring

CHECK_EVERY: Final = 64
"""Of the drafts of one plan, the first and then one in so many go through the checklist."""

_encode = msgspec.json.Encoder().encode


class Output(NamedTuple):
    """A port of the node at `place`; new nodes come after V1's. In data it stands for its selector."""

    place: int
    port: str


class Template(NamedTuple):
    """A text in data: outputs stand for their variables (`{{id.port}}`)."""

    parts: tuple[str | Output, ...]


class Mapped(NamedTuple):
    """An input port, and the output that it takes its value from."""

    port: str
    source: Output
    type: PortType = "string"


class Flow(NamedTuple):
    """An edge: from an output port to an input port, and of which type."""

    source: Output
    target: Output
    data_type: PortType = "string"


class Wired(msgspec.Struct, frozen=True):
    """A node's ports and mappings; both also as JSON, the mappings with `%b` for each node's id."""

    ports: Ports
    mappings: tuple[Mapped, ...]
    ports_json: Raw
    mappings_json: bytes
    named: tuple[int, ...]

    @classmethod
    def of(cls, ports: Ports, mappings: Sequence[Mapped]) -> Wired:
        """Write both out."""
        pairs = (
            b'%s:{"variable":"%%b.%s,"value_type":%s}'
            % (_part(_encode(one.port)), _part(_encode(one.source.port)[1:]), _encode(one.type))
            for one in mappings
        )
        return cls(
            ports,
            tuple(mappings),
            Raw(_encode(ports)),
            b"{%s}" % b",".join(pairs),
            tuple(one.source.place for one in mappings),
        )


def _part(text: bytes) -> bytes:
    """A text as a part of a format."""
    return text.replace(b"%", b"%%")


class PlannedNode(msgspec.Struct, frozen=True):
    """One of V1's nodes; `prompt` is its prompt where that is the plan's own."""

    type: str
    wired: Wired
    prompt: Template | None = None


class NewNode(msgspec.Struct, frozen=True):
    """A node that V1 did not have, left of the node at place `beside`.

    Its id is `pattern` with the first number that is free for its `{}`. In `data` an `Output` and a
    `Template` stand for texts with ids.
    """

    pattern: str
    type: str
    beside: int
    data: Mapping[str, Any]
    wired: Wired


class PlannedEdge(msgspec.Struct, frozen=True):
    """An edge, the types of the nodes at its ends, and its keys but for ids."""

    flow: Flow
    types: tuple[str, str]
    keys: dict[str, Raw]


class Plan(msgspec.Struct, frozen=True):
    """Nodes and edges in the order of the workflow's lists, new ones behind them.

    `order` is V1's order of execution, `columns` where a layout puts V1's nodes, `warnings` are in order.
    """

    order: tuple[int, ...]
    columns: tuple[int, ...]
    nodes: tuple[PlannedNode, ...]
    new_nodes: tuple[NewNode, ...]
    edges: tuple[PlannedEdge, ...]
    new_edges: tuple[PlannedEdge, ...]
    warnings: tuple[Warned, ...]

    @property
    def size(self) -> int:
        """About how much there is of it."""
        wired = [one.wired for one in self.nodes] + [one.wired for one in self.new_nodes]
        ports = (len(one.ports.inputs) + len(one.mappings) for one in wired)
        return len(wired) + len(self.edges) + len(self.new_edges) + sum(ports)


class Known:
    """A plan that is kept, with what is known of its drafts.

    `outline` is what a target made of the graph of one of them, to execute the others by.
    """

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.has_passed = False
        self.outline: object = None
        self._drafts = 0

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Known) and self.plan == other.plan

    __hash__ = None  # type: ignore[assignment]

    def is_due(self) -> bool:
        """Whether this draft goes through the checklist: until one passed all do, then one in so many.

        Such a one is then read for the outline as well.
        """
        self._drafts += 1
        if self.has_passed and self._drafts % CHECK_EVERY:
            return False
        self.outline = None
        return True


class _Gathered:
    """What is being gathered for one of V1's nodes."""

    def __init__(self, ports: Ports) -> None:
        self.ports = ports
        self.mappings: dict[str, Mapped] = {}
        self.extra_inputs: list[Port] = []
        self.after: dict[int, str] = {}  # source → its `after` port
        self.prompt: Template | None = None

    def map(self, port: str, source: Output, data_type: PortType = "string") -> None:
        self.mappings[port] = Mapped(port, source, data_type)

    def free_port(self) -> str:
        """The first of `after`, `after_2`, … that is no port of it yet."""
        taken = {port.name for port in (*self.ports.inputs, *self.extra_inputs)}
        name, number = "after", 1
        while name in taken:
            number += 1
            name = f"after_{number}"
        return name

    def wired(self) -> Wired:
        ports = Ports((*self.ports.inputs, *self.extra_inputs), self.ports.outputs)
        return Wired.of(ports, tuple(self.mappings.values()))


class Planner:
    """Gathers what a target says of mappings, edges and new nodes, then gives the plan.

    `flows` says what an edge of V1 (source, target) carries: `map` fills it, and a target may lead an
    edge elsewhere there. An edge along which nothing flows gets an input port that only fixes the order.
    """

    def __init__(self, wiring: Wiring) -> None:
        self.wiring = wiring
        self.flows: dict[tuple[int, int], Flow] = {}
        self.nodes = [_Gathered(role.ports) for role in wiring.roles]
        self.types = list(wiring.types)
        self._new_nodes: list[NewNode] = []
        self._new_edges: list[Flow] = []
        self._warnings = list(wiring.warnings)

    def warn(self, code: WarningCode, node: int | None, message: str, *names: Named) -> None:
        """Note a warning about a node of V1, or about the whole workflow."""
        self._warnings.append(Warned(code, node, message, names))

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

    def map_and_connect(self, value: Value, source: int, target: int) -> None:
        """`map`, and an edge for it where V1's picture has none."""
        self.map(value, source, target)
        if (source, target) not in self.wiring.connected:
            self.connect(*self.flows[source, target])

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
        wired = Wired.of(ports, mappings)
        self._new_nodes.append(NewNode(pattern, node_type, beside, data, wired))
        self.types.append(node_type)
        return len(self.types) - 1

    def plan(self) -> Plan:
        """The plan, with all warnings in order."""
        flows = [self.flows.get(edge) or self._order_only(*edge) for edge in self.edges]
        self._warn_of_order_only()
        return Plan(
            self.wiring.order,
            columns(self.wiring.order, self.edges),
            tuple(
                PlannedNode(node_type, one.wired(), one.prompt)
                for node_type, one in zip(self.types, self.nodes, strict=False)
            ),
            tuple(self._new_nodes),
            tuple(map(self._edge, flows)),
            tuple(map(self._edge, self._new_edges)),
            tuple(sorted(self._warnings, key=lambda one: one.rank)),
        )

    @property
    def next_place(self) -> int:
        """The place that the next new node gets."""
        return len(self.types)

    @property
    def edges(self) -> Sequence[tuple[int, int]]:
        """V1's edges."""
        return self.wiring.structure.edges

    def _edge(self, flow: Flow) -> PlannedEdge:
        types = self.types[flow.source.place], self.types[flow.target.place]
        keys = {
            "source_port": flow.source.port,
            "target_port": flow.target.port,
            "data_type": flow.data_type,
            "type": "custom",
            "data": {"source_type": types[0], "target_type": types[1]},
        }
        return PlannedEdge(flow, types, {name: Raw(_encode(one)) for name, one in keys.items()})

    def _order_only(self, source: int, target: int) -> Flow:
        """An edge along which nothing flows: it leads to a port that nothing reads."""
        output, node = self.nodes[source].ports.outputs[0], self.nodes[target]
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
                message = "V1 passes nothing on from %s"
                warned = Warned("order_only_edge", place, message, (Named(silent),), Phase.EDGES)
                self._warnings.append(warned)


def after_port(name: str, port_type: PortType) -> Port:
    """An input port that only fixes the order."""
    return Port(name, port_type, False, "실행 순서만 정하는 연결", "순서")
