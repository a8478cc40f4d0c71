"""V2: run a draft from its ports, mappings and edges, and from nothing else (design sections 3, 4)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from copy import copy
from typing import Any, Final

import msgspec

from worker.core.codes import quote
from worker.core.engine.parallel import Pool, walk
from worker.core.engine.registry import LOOPS, Registry
from worker.core.engine.rules import DrawnEdge, DrawnGraph, DrawnNode, Rules
from worker.core.workflow.calls import (
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
from worker.core.workflow.node_types import CustomNode, Node, checked_outputs, variable_input
from worker.core.workflow.order import run_order
from worker.core.workflow.v2 import RESERVED_IDS, Port, PortMapping, Ports, split_selector
from worker.errors import BotError

_ENTRY: Final = "start"
_ANSWER: Final = "end"


class Variables(msgspec.Struct, frozen=True):
    """What selectors with a reserved prefix find, by name.

    `env` also answers to `environment`, `conversation` to `conv`, `system` to `sys`. A draft's own
    are its row's `environment_variables` and `conversation_variables`.
    """

    env: Mapping[str, Any] = {}
    conversation: Mapping[str, Any] = {}
    system: Mapping[str, Any] = {}


NO_VARIABLES: Final = Variables()


class Input(msgspec.Struct, frozen=True):
    """An input port: its value is the output `output` of `source` (a node, or a prefix).

    Where that has none, or there is no source, it is `default`, if there is one.
    """

    port: str
    source: str | None
    output: str
    default: Any = None


class Exit(msgspec.Struct, frozen=True):
    """An edge seen from its source: to the step at place `target`."""

    port: str
    target: int


class Step(msgspec.Struct, frozen=True):
    """A node ready to run; `is_foreign` where its type is not built in."""

    id: str
    node: Node[Any]
    data: Any
    inputs: tuple[Input, ...]
    required: tuple[str, ...]
    exits: tuple[Exit, ...]
    is_foreign: bool


class Program(msgspec.Struct, frozen=True):
    """A draft ready to run: its nodes in order, and the places of those that wait for nothing."""

    steps: tuple[Step, ...]
    roots: tuple[int, ...]
    rules: Rules


_graph = msgspec.json.Decoder(DrawnGraph)


# -- decoding --------------------------------------------------------------------------------------


def decode(graph: bytes, rules: Rules, types: Registry | None = None) -> Program:
    """Make a draft's graph (JSON) ready for an engine; once, for any number of messages.

    `types` are its node types and those that are installed; its own alone where none are given. This
    is not the checklist (`worker.core.workflow.v2.check`): only what the engine does not run is refused.

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
    if (why := rules.refuse(draft)) is not None:
        raise _refused(why)
    place = {node_id: index for index, node_id in enumerate(order)}
    exits: dict[str, list[Exit]] = {node_id: [] for node_id in order}
    for edge in draft.edges:
        exits[edge.source].append(Exit(edge.source_port, place[edge.target]))
    entered = {edge.target for edge in draft.edges}
    registry = rules.built_in if types is None else types
    steps = []
    for node_id in order:
        node = nodes[node_id]
        mappings = rules.mappings(draft, node)
        step = _step(node, mappings, tuple(exits[node_id]), registry, rules.built_in, place)
        steps.append(step)
    roots = (index for index, node_id in enumerate(order) if node_id not in entered)
    return Program(tuple(steps), tuple(roots), rules)


def _refused(why: str) -> BotError:
    return BotError("execution_failed", why)


def _order(nodes: Mapping[str, DrawnNode], edges: Sequence[DrawnEdge]) -> tuple[str, ...]:
    """The order in which the nodes run; BotError where there is none."""
    for index, edge in enumerate(edges):
        if edge.source not in nodes or edge.target not in nodes:
            raise _refused(f"edges[{index}] leads from or to a node that does not exist")
    order = run_order(nodes, ((edge.source, edge.target) for edge in edges))
    if len(order) < len(nodes):
        raise _refused("the edges form a cycle")
    return order


def _step(
    node: DrawnNode,
    mappings: Mapping[str, PortMapping],
    exits: tuple[Exit, ...],
    registry: Registry,
    built_in: Registry,
    place: Mapping[str, int],
) -> Step:
    name = quote(node.id)
    if node.id in RESERVED_IDS:
        raise _refused(f"the id of node {name} is reserved")
    if node.type in LOOPS:
        raise _refused(f"node {name} is a loop (type {quote(node.type)}): loops are not executed")
    node_type = registry.get(node.type)
    if node_type is None:
        raise _refused(f"node {name}: no node type {quote(node.type)} is registered")
    try:
        data = node_type.read(node.data)
    except msgspec.DecodeError as error:
        raise _refused(f"the data of node {name} does not fit its type: {error}") from error
    is_foreign = built_in.get(node.type) is not node_type
    ports = _seen_ports(node.ports, node_type, is_foreign)
    return Step(
        id=node.id,
        node=node_type,
        data=data,
        inputs=(
            *_inputs(node.id, mappings, ports, place),
            *_variables(node.id, node_type.variables(data), place),
        ),
        required=_required(node.ports, node_type.ports),
        exits=exits,
        is_foreign=is_foreign,
    )


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
    place: Mapping[str, int],
) -> Iterator[Input]:
    """The inputs that may have a value, in port order."""
    for port in ports:
        mapping = mappings.get(port.name)
        source, output = _source(node_id, mapping.variable, place) if mapping else (None, "")
        default = port.given_default
        if source is not None or default is not None:
            yield Input(port.name, source, output, default)


def _variables(node_id: str, selectors: Sequence[str], place: Mapping[str, int]) -> Iterator[Input]:
    """The inputs that a node's data names by itself."""
    for selector in selectors:
        source, output = _source(node_id, selector, place)
        if source is not None:
            yield Input(variable_input(selector), source, output)


def _source(node_id: str, selector: str, place: Mapping[str, int]) -> tuple[str | None, str]:
    """Where a selector leads; a node never sees the outputs of one that runs after it."""
    source, output = split_selector(selector)
    return (None if place.get(source, -1) >= place[node_id] else source), output


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
    pool: Pool | None = None,
) -> Trace:
    """Run a draft on `message`.

    Nodes run one after another. One runs when an edge into it is live: its source ran, and did not
    choose another way. The answer is that of the first end that ran. A node that fails ends the
    execution; what did not run is recorded as skipped.

    With a `pool`, nodes that do not depend on one another run side by side, in its threads and in
    this one, which must be none of them. The trace is that of the sequence, elapsed times aside:
    what ran behind a node that failed is recorded as skipped, and its calls are not. Providers, nodes
    and the clock are then used by several threads. A graph with more nodes than `limits.max_steps`
    runs in sequence all the same.

    Raises:
        BudgetSpentError, TransientError: a provider could not be asked; nothing is known.
    """
    entry = {"query": message, "session_id": session_id}
    execution = _Execution(program, entry, providers, clock, limits, variables)
    if pool is None or len(program.steps) > limits.max_steps:
        return execution.run()
    return _SideBySide(execution).run(pool)


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
        self.providers = providers
        self.clock = clock
        self.limits = limits
        self.recorder = Recorder(providers)
        self.records: list[NodeRecord] = []
        self.answer: str | None = None
        self.error: str | None = None
        self.steps_run = 0
        self.characters = 0
        self.pool: dict[str | None, Mapping[str, Any]] = {
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
        for index, step in enumerate(self.program.steps):
            if self.error is None and self.live[index]:
                self.run_node(step)
            else:
                self.skip(step)
        return self.trace()

    def run_node(self, step: Step) -> None:
        """Run one node and record it; `error` says why the execution ends here, if it does."""
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
            self.error = f"node {quote(step.id)} failed: {error}"
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

    def skip(self, step: Step) -> None:
        """Record a node that does not run."""
        self.records.append(NodeRecord(step.id, step.node.type, len(self.records) + 1, "skipped"))

    def trace(self) -> Trace:
        """What there is to say when every node has its record."""
        error = self.error
        if error is None and self.answer is None:
            error = "no end was reached"
        return Trace(
            answer=None if error else self._final_answer(),
            calls=tuple(self.recorder.calls),
            error=error,
            nodes=tuple(self.records),
            tokens=self.recorder.tokens,
            elapsed_us=microseconds(self.now - self.began),
        )

    def _final_answer(self) -> str | None:
        return None if self.answer is None else self.program.rules.answer(self.answer, self.records)

    def _check_limits(self) -> None:
        if self.steps_run >= self.limits.max_steps:
            raise TimeoutError(f"more than {self.limits.max_steps:,} steps")
        if self.now - self.began > self.limits.timeout_s:
            raise TimeoutError(f"more than {self.limits.timeout_s:g} seconds")
        self.steps_run += 1

    def check_characters(self) -> None:
        """Raise ValueError where the nodes have handed on more than they may together."""
        if self.characters > self.limits.max_characters:
            raise ValueError(f"more than {self.limits.max_characters:,} characters")

    def _inputs(self, step: Step) -> dict[str, Any]:
        """The values of the input ports; those without a value are left out.

        Raises:
            ValueError: a required one is among them.
        """
        inputs: dict[str, Any] = dict(self.entry) if step.node.type == _ENTRY else {}
        pool = self.pool
        for one in step.inputs:
            source = pool.get(one.source)
            if source is not None and (value := source.get(one.output)) is not None:
                inputs[one.port] = value
            elif one.default is not None:
                inputs[one.port] = one.default
        for port in step.required:
            if port not in inputs:
                raise ValueError(f"its required input {quote(port)} has no value")
        return inputs

    def _hand_on(self, step: Step, outputs: dict[str, Any]) -> None:
        """Put a node's outputs where others find them, and wake those behind it."""
        if step.is_foreign:
            checked_outputs(step.node, outputs)
        self.characters += sum([len(value) for value in outputs.values() if type(value) is str])
        self.check_characters()
        self.pool[step.id] = outputs
        for way in step.exits:
            if not step.node.branches or step.node.follows(outputs, way.port):
                self.live[way.target] = 1
        if step.node.type == _ANSWER and self.answer is None:
            self.answer = outputs["final_output"]["response"]


class _SideBySide:
    """An execution whose independent nodes run at the same time.

    Each node runs in an execution of its own (a part), which shares with the whole the outputs of
    nodes and what is live. Put together in order, the parts are what the sequence would have been:
    of what comes before the first node that failed, everything ran.
    """

    def __init__(self, whole: _Execution) -> None:
        self.whole = whole
        self.steps = whole.program.steps
        self.parts: dict[int, _Execution] = {}
        self.failed: list[int] = []
        self.stops: dict[int, Exception] = {}
        self.characters = 0  # handed on so far, more or less: several threads add to it

    def run(self, pool: Pool) -> Trace:
        walk(_dependents(self.steps), self._visit, pool)
        whole = self.whole
        for place, step in enumerate(self.steps):
            if whole.error is None and place in self.stops:
                raise self.stops[place]
            if whole.error is None and place in self.parts:
                self._take_over(self.parts[place])
            else:
                whole.skip(step)
        whole.now = whole.clock()
        return whole.trace()

    def _visit(self, place: int) -> None:
        """Run a node, unless no edge into it is live or the execution has ended before it."""
        if not self.whole.live[place] or self._has_ended_before(place):
            return
        part = self._part()
        since_us = microseconds(part.now - part.began)
        try:
            part.run_node(self.steps[place])
        except STOPS as stop:  # raised in its place in the sequence, once nothing runs any more
            self.stops[place] = stop
            self.failed.append(place)
            return
        (record,) = part.records
        part.records = [msgspec.structs.replace(record, order=place + 1, since_us=since_us)]
        self.parts[place] = part
        self.characters += part.characters
        if part.error is not None:
            self.failed.append(place)

    def _has_ended_before(self, place: int) -> bool:
        """Whether the sequence would not come as far: a node failed, or too much was handed on."""
        if self.failed and place > min(self.failed):
            return True
        most = self.whole.limits.max_characters
        if self.characters <= most:
            return False
        before = (part.characters for other, part in self.parts.copy().items() if other < place)
        return sum(before) > most

    def _part(self) -> _Execution:
        """An execution for one node: it records for itself and shares the rest."""
        whole = self.whole
        part = copy(whole)
        part.recorder, part.records, part.now = Recorder(whole.providers), [], whole.clock()
        return part

    def _take_over(self, part: _Execution) -> None:
        whole = self.whole
        whole.recorder.calls += part.recorder.calls
        whole.recorder.tokens += part.recorder.tokens
        whole.characters += part.characters
        whole.error = part.error
        (record,) = part.records
        try:
            whole.check_characters()
        except ValueError as failure:
            error = reason(failure)
            whole.error = f"node {quote(record.node_id)} failed: {error}"
            record = msgspec.structs.replace(record, status="failed", outputs={}, error=error)
        whole.records.append(record)
        if whole.error is None and whole.answer is None:
            whole.answer = part.answer


def _dependents(steps: Sequence[Step]) -> list[list[int]]:
    """For each step, those that wait for it: it has an edge to them, or they take a value from it."""
    place = {step.id: index for index, step in enumerate(steps)}
    dependents = [[way.target for way in step.exits] for step in steps]
    for index, step in enumerate(steps):
        for one in step.inputs:
            if one.source is not None and one.source in place:
                dependents[place[one.source]].append(index)
    return dependents
