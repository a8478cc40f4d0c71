"""One execution of a draft: a node at a time, from its ports, mappings and edges alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from worker.core.codes import quote
from worker.core.engine.program import Program, Step
from worker.core.workflow.calls import (
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
from worker.core.workflow.node_types import checked_outputs

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


class Execution:
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
        self.pool: dict[int | str | None, Mapping[str, Any]] = {
            "env": variables.env,
            "environment": variables.env,
            "conv": variables.conversation,
            "conversation": variables.conversation,
            "sys": variables.system,
            "system": variables.system,
        }
        self.steps = program.outline.steps
        self.live = bytearray(len(self.steps))
        for rank in program.outline.roots:
            self.live[rank] = 1
        self.began = self.now = clock()

    def run(self) -> Trace:
        for rank in range(len(self.steps)):
            if self.error is None and self.live[rank]:
                self.run_node(rank)
            else:
                self.skip(rank)
        return self.trace()

    def run_node(self, rank: int) -> None:
        """Run one node and record it; `error` says why the execution ends here, if it does."""
        step, node_id = self.steps[rank], self.program.ids[rank]
        began, tokens = self.now, self.recorder.tokens
        inputs: dict[str, Any] = {}
        outputs: dict[str, Any] = {}
        error = None
        try:
            self._check_limits()
            inputs = self._inputs(rank, step)
            outputs = step.node.run(inputs, self.program.data[rank], self.recorder)
            self._hand_on(rank, step, outputs)
        except STOPS:
            raise
        except Exception as failure:  # noqa: BLE001 - whatever else a node raises is recorded
            error = reason(failure)
            self.error = f"node {quote(node_id)} failed: {error}"
        self.now = self.clock()
        self.records.append(
            NodeRecord(
                node_id,
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

    def skip(self, rank: int) -> None:
        """Record a node that does not run."""
        node_id, node_type = self.program.ids[rank], self.steps[rank].node.type
        self.records.append(NodeRecord(node_id, node_type, len(self.records) + 1, "skipped"))

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
        rules = self.program.outline.rules
        return None if self.answer is None else rules.answer(self.answer, self.records)

    def _check_limits(self) -> None:
        if self.steps_run >= self.limits.max_steps:
            raise TimeoutError(f"more than {self.limits.max_steps:,} steps")
        if self.now - self.began > self.limits.timeout_s:
            raise TimeoutError(f"more than {self.limits.timeout_s:g} seconds")
        self.steps_run += 1

    def check_characters(self) -> None:
        """Raise ValueError if the nodes have handed on more than they may together."""
        if self.characters > self.limits.max_characters:
            raise ValueError(f"more than {self.limits.max_characters:,} characters")

    def _inputs(self, rank: int, step: Step) -> dict[str, Any]:
        """The values of the input ports; those without a value are left out.

        Raises:
            ValueError: a required one is among them.
        """
        inputs: dict[str, Any] = dict(self.entry) if step.node.type == _ENTRY else {}
        pool = self.pool
        for one in self.program.inputs[rank]:
            source = pool.get(one.source)
            if source is not None and (value := source.get(one.output)) is not None:
                inputs[one.port] = value
            elif one.default is not None:
                inputs[one.port] = one.default
        for port in step.required:
            if port not in inputs:
                raise ValueError(f"its required input {quote(port)} has no value")
        return inputs

    def _hand_on(self, rank: int, step: Step, outputs: dict[str, Any]) -> None:
        """Put a node's outputs where others find them, and wake those behind it."""
        if step.is_foreign:
            checked_outputs(step.node, outputs)
        self.characters += sum([len(value) for value in outputs.values() if type(value) is str])
        self.check_characters()
        self.pool[rank] = outputs
        for way in step.exits:
            if not step.node.branches or step.node.follows(outputs, way.port):
                self.live[way.target] = 1
        if step.node.type == _ANSWER and self.answer is None:
            self.answer = outputs["final_output"]["response"]
