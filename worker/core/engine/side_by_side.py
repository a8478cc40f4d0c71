"""An execution whose independent nodes run at the same time, in the threads of a pool."""

from __future__ import annotations

from copy import copy

import msgspec

from worker.core.codes import quote
from worker.core.engine.execution import Execution
from worker.core.engine.parallel import Pool, walk
from worker.core.engine.program import Program
from worker.core.workflow.calls import STOPS, Recorder, Trace, microseconds, reason


class SideBySide:
    """An execution whose independent nodes run at the same time.

    Each node runs in an execution of its own (a part), which shares with the whole the outputs of
    nodes and what is live. Put together in order, the parts are what the sequence would have been:
    of what comes before the first node that failed, everything ran.
    """

    def __init__(self, whole: Execution) -> None:
        self.whole = whole
        self.parts: dict[int, Execution] = {}
        self.failed: list[int] = []
        self.stops: dict[int, Exception] = {}
        self.characters = 0  # handed on so far, more or less: several threads add to it

    def run(self, pool: Pool) -> Trace:
        whole = self.whole
        walk(_dependents(whole.program), self._visit, pool)
        for place in range(len(whole.steps)):
            if whole.error is None and place in self.stops:
                raise self.stops[place]
            if whole.error is None and place in self.parts:
                self._take_over(self.parts[place])
            else:
                whole.skip(place)
        whole.now = whole.clock()
        return whole.trace()

    def _visit(self, place: int) -> None:
        """Run a node, unless no edge into it is live or the execution has ended before it."""
        if not self.whole.live[place] or self._has_ended_before(place):
            return
        part = self._part()
        since_us = microseconds(part.now - part.began)
        try:
            part.run_node(place)
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

    def _part(self) -> Execution:
        """An execution for one node: it records for itself and shares the rest."""
        whole = self.whole
        part = copy(whole)
        part.recorder, part.records, part.now = Recorder(whole.providers), [], whole.clock()
        return part

    def _take_over(self, part: Execution) -> None:
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


def _dependents(program: Program) -> list[list[int]]:
    """For each step, those that wait for it: it has an edge to them, or they take a value from it."""
    dependents = [[way.target for way in step.exits] for step in program.outline.steps]
    for place, inputs in enumerate(program.inputs):
        for one in inputs:
            if isinstance(one.source, int):
                dependents[one.source].append(place)
    return dependents
