"""V2: run a draft from its ports, mappings and edges, and from nothing else (design sections 3, 4)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec
from msgspec import Raw

from worker.core.codes import quote
from worker.core.engine.calls import (
    DEFAULT_LIMITS,
    STOPS,
    Clock,
    Limits,
    NodeRecord,
    Providers,
    Recorder,
    Trace,
    microseconds,
    reason,
)
from worker.core.engine.nodes import Node
from worker.core.engine.registry import BUILT_IN, LOOPS, Registry
from worker.core.order import run_order
from worker.core.v2 import RESERVED_IDS, PortMapping, Ports, split_selector
from worker.errors import BotError

_ENTRY: Final = "start"
_ANSWER: Final = "end"


class Variables(msgspec.Struct, frozen=True):
    """What selectors with a reserved prefix find, by name.

    `env` also answers to `environment`, `conversation` to `conv`, `system` to `sys`.
    """

    env: Mapping[str, Any] = {}
    conversation: Mapping[str, Any] = {}
    system: Mapping[str, Any] = {}


NO_VARIABLES: Final = Variables()


class Input(msgspec.Struct, frozen=True):
    """A mapped input port: its value is the output `output` of `source` (a node, or a prefix)."""

    port: str
    source: str
    output: str


class Exit(msgspec.Struct, frozen=True):
    """An edge seen from its source: to the step at place `target`."""

    port: str
    target: int


class Step(msgspec.Struct, frozen=True):
    """A node ready to run."""

    id: str
    node: Node[Any]
    data: Any
    inputs: tuple[Input, ...]
    required: tuple[str, ...]
    exits: tuple[Exit, ...]


class Program(msgspec.Struct, frozen=True):
    """A draft ready to run: its nodes in order, and the places of those that wait for nothing."""

    steps: tuple[Step, ...]
    roots: tuple[int, ...]


class _Node(msgspec.Struct, frozen=True):
    id: str
    type: str
    ports: Ports
    data: Raw = Raw(b"{}")
    variable_mappings: dict[str, PortMapping] = {}


class _Edge(msgspec.Struct, frozen=True):
    source: str
    target: str
    source_port: str


class _Graph(msgspec.Struct, frozen=True):
    nodes: list[_Node]
    edges: list[_Edge]


_graph = msgspec.json.Decoder(_Graph)


# -- decoding --------------------------------------------------------------------------------------


def decode(graph: bytes, registry: Registry = BUILT_IN) -> Program:
    """Make a draft's graph (JSON) ready; once, for any number of messages.

    This is not the checklist (`worker.core.v2.check`): only what cannot be run at all is refused.

    Raises:
        BotError: `execution_failed`, and why.
    """
    try:
        draft = _graph.decode(graph)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise _refused(f"the graph cannot be read: {error}") from error
    nodes = {node.id: node for node in draft.nodes}
    if len(nodes) < len(draft.nodes):
        raise _refused("two nodes have the same id")
    order = _order(nodes, draft.edges)
    place = {node_id: index for index, node_id in enumerate(order)}
    exits: dict[str, list[Exit]] = {node_id: [] for node_id in order}
    for edge in draft.edges:
        exits[edge.source].append(Exit(edge.source_port, place[edge.target]))
    entered = {edge.target for edge in draft.edges}
    return Program(
        tuple(_step(nodes[node_id], tuple(exits[node_id]), registry) for node_id in order),
        tuple(index for index, node_id in enumerate(order) if node_id not in entered),
    )


def _refused(why: str) -> BotError:
    return BotError("execution_failed", why)


def _order(nodes: Mapping[str, _Node], edges: Sequence[_Edge]) -> tuple[str, ...]:
    """The order in which the nodes run; BotError where there is none."""
    for index, edge in enumerate(edges):
        if edge.source not in nodes or edge.target not in nodes:
            raise _refused(f"edges[{index}] leads from or to a node that does not exist")
    order = run_order(nodes, ((edge.source, edge.target) for edge in edges))
    if len(order) < len(nodes):
        raise _refused("the edges form a cycle")
    return order


def _step(node: _Node, exits: tuple[Exit, ...], registry: Registry) -> Step:
    name = quote(node.id)
    if node.id in RESERVED_IDS:
        raise _refused(f"the id of node {name} is reserved")
    if node.type in LOOPS:
        raise _refused(f"node {name} is a loop (type {quote(node.type)}): loops are not executed")
    node_type = registry.get(node.type)
    if node_type is None:
        raise _refused(f"node {name}: no node type {quote(node.type)} is registered")
    try:
        data = msgspec.json.decode(node.data, type=node_type.data_type)
    except msgspec.DecodeError as error:
        raise _refused(f"the data of node {name} does not fit its type: {error}") from error
    mappings = node.variable_mappings
    return Step(
        id=node.id,
        node=node_type,
        data=data,
        inputs=tuple(
            Input(port.name, *split_selector(mappings[port.name].variable))
            for port in node.ports.inputs
            if port.name in mappings
        ),
        required=_required(node.ports, node_type.ports),
        exits=exits,
    )


def _required(drawn: Ports, declared: Ports) -> tuple[str, ...]:
    """The inputs without which a node cannot run: those of the graph, and those of its type."""
    ports = (*drawn.inputs, *declared.inputs)
    return tuple(dict.fromkeys(port.name for port in ports if port.required))


# -- running ---------------------------------------------------------------------------------------


def execute(
    program: Program,
    message: str,
    providers: Providers,
    *,
    clock: Clock,
    limits: Limits = DEFAULT_LIMITS,
    variables: Variables = NO_VARIABLES,
    session_id: str = "",
) -> Trace:
    """Run a draft on `message`.

    Nodes run one after another. One runs when an edge into it is live: its source ran, and did not
    choose another way. The answer is that of the first end that ran. A node that fails ends the
    execution; what did not run is recorded as skipped.

    Raises:
        BudgetSpentError, TransientError: a provider could not be asked; nothing is known.
    """
    entry = {"query": message, "session_id": session_id}
    return _Execution(program, entry, providers, clock, limits, variables).run()


class _Execution:
    """One execution of a program."""

    def __init__(
        self,
        program: Program,
        entry: dict[str, str],
        providers: Providers,
        clock: Clock,
        limits: Limits,
        variables: Variables,
    ) -> None:
        self.program = program
        self.entry = entry
        self.clock = clock
        self.limits = limits
        self.recorder = Recorder(providers)
        self.records: list[NodeRecord] = []
        self.answer: str | None = None
        self.steps_run = 0
        self.pool: dict[str, Mapping[str, Any]] = {
            "env": variables.env,
            "environment": variables.env,
            "conv": variables.conversation,
            "conversation": variables.conversation,
            "sys": variables.system,
            "system": variables.system,
        }
        self.live = bytearray(len(program.steps))
        for index in program.roots:
            self.live[index] = 1
        self.began = self.now = clock()

    def run(self) -> Trace:
        error = None
        for index, step in enumerate(self.program.steps):
            if error is None and self.live[index]:
                error = self._run(step)
            else:
                self.records.append(
                    NodeRecord(step.id, step.node.type, len(self.records) + 1, "skipped")
                )
        if error is None and self.answer is None:
            error = "no end was reached"
        return Trace(
            answer=None if error else self.answer,
            calls=tuple(self.recorder.calls),
            error=error,
            nodes=tuple(self.records),
            tokens=self.recorder.tokens,
            elapsed_us=microseconds(self.now - self.began),
        )

    def _run(self, step: Step) -> str | None:
        """Run one node and record it; returns why the execution ends here, if it does."""
        began, tokens = self.now, self.recorder.tokens
        inputs: dict[str, Any] = {}
        outputs: dict[str, Any] = {}
        error = None
        try:
            self._check_limits()
            inputs = self._inputs(step)
            outputs = step.node.run(inputs, step.data, self.recorder)
            self._hand_on(step, outputs)
        except STOPS:
            raise
        except Exception as failure:  # noqa: BLE001 - whatever else a node raises is recorded
            error = reason(failure)
        self.now = self.clock()
        self.records.append(
            NodeRecord(
                step.id,
                step.node.type,
                len(self.records) + 1,
                "failed" if error else "succeeded",
                inputs,
                {} if error else outputs,
                error,
                self.recorder.tokens - tokens,
                microseconds(self.now - began),
            )
        )
        return f"node {quote(step.id)} failed: {error}" if error else None

    def _check_limits(self) -> None:
        if self.steps_run >= self.limits.max_steps:
            raise TimeoutError(f"more than {self.limits.max_steps:,} steps")
        if self.now - self.began > self.limits.timeout_s:
            raise TimeoutError(f"more than {self.limits.timeout_s:g} seconds")
        self.steps_run += 1

    def _inputs(self, step: Step) -> dict[str, Any]:
        """The values of the mapped ports; those without a value are left out.

        Raises:
            ValueError: a required one is among them.
        """
        inputs: dict[str, Any] = dict(self.entry) if step.node.type == _ENTRY else {}
        pool = self.pool
        for one in step.inputs:
            source = pool.get(one.source)
            if source is not None and (value := source.get(one.output)) is not None:
                inputs[one.port] = value
        for port in step.required:
            if port not in inputs:
                raise ValueError(f"its required input {quote(port)} has no value")
        return inputs

    def _hand_on(self, step: Step, outputs: dict[str, Any]) -> None:
        """Put a node's outputs where others find them, and wake those behind it."""
        if not isinstance(outputs, dict):
            raise TypeError(f"its outputs are no dict but {type(outputs).__name__}")
        self.pool[step.id] = outputs
        for way in step.exits:
            if not step.node.branches or way.port in outputs:
                self.live[way.target] = 1
        if step.node.type == _ANSWER and self.answer is None:
            self.answer = outputs["final_output"]["response"]
