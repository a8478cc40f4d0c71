"""Answer nodes that build a text out of pieces, character for character."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from worker.core.targets.answer.ports import ANSWER_TYPE, ASSIGNER, PORTS, operation_port
from worker.core.targets.answer.prompts import Piece, Pieces, built, constant, cut
from worker.core.workflow.ids import FreeIds
from worker.core.workflow.plan import Mapped, Output, Planner, Template
from worker.core.workflow.v2 import Port, Ports, split_selector


def add_answer(planner: Planner, beside: int, template: str | Template, mapped: Output) -> int:
    """Add an answer node; its place. `mapped` is the output that its target takes."""
    return planner.add_node(
        "answer-{}",
        ANSWER_TYPE,
        beside=beside,
        data={"template": template, "output_format": "text"},
        ports=PORTS[ANSWER_TYPE],
        mappings=[Mapped("target", mapped, "any")],
    )


class TextBuilder:
    """Builds texts in a draft: answer nodes, and an assigner that holds what they must not read.

    How a text is cut depends on how long the ids in it are: `names` are those of V1's nodes.
    """

    def __init__(self, planner: Planner, names: Sequence[str]) -> None:
        self.planner = planner
        self.places = {name: place for place, name in enumerate(names)}
        self.free = FreeIds(names)

    def build(self, beside: int, pieces: Pieces) -> int:
        """Answer nodes that put pieces together, character for character; the place of the last."""
        shown, constants = built(pieces)
        if constants:
            outputs = self._constants(beside, constants)
            shown = [
                Piece(outputs.get(one.text, one.text), is_output=True) if one.is_output else one
                for one in shown
            ]
        runs = cut(shown)
        while len(runs) > 1:
            parts = [self._add_text(beside, run) for run in runs]
            runs = cut([Piece(f"{part}.final_output", is_output=True) for part in parts])
        return self.places[self._add_text(beside, runs[0])]

    def _named(self, pattern: str, place: int) -> str:
        """The id that the node at a place, the newest, will have."""
        name = self.free.take(pattern)
        self.places[name] = place
        return name

    def _constants(self, beside: int, texts: Sequence[str]) -> Mapping[str, str]:
        """An assigner that holds texts; the output of each, by the name that it had so far."""
        planner, message = self.planner, self.planner.message
        numbers = range(len(texts))
        assigner = planner.add_node(
            "assigner-{}",
            ASSIGNER,
            beside=beside,
            data={
                "version": "2",
                "operations": [
                    {"write_mode": "set", "input_type": "constant", "constant_value": text}
                    for text in texts
                ],
            },
            ports=Ports(
                tuple(self._any_port(operation_port(i, "target"), "대상") for i in numbers),
                tuple(self._any_port(operation_port(i, "result"), "결과") for i in numbers),
            ),
            mappings=[Mapped(operation_port(i, "target"), message, "any") for i in numbers],
        )
        planner.connect(message, Output(assigner, operation_port(0, "target")), "any")
        name = self._named("assigner-{}", assigner)
        return {constant(i): f"{name}.{operation_port(i, 'result')}" for i in numbers}

    @staticmethod
    def _any_port(name: str, shown: str) -> Port:
        return Port(name, "any", True, shown, name)

    def _add_text(self, beside: int, pieces: Pieces) -> str:
        """An answer node that puts pieces together, with an edge from each node that it names; its id."""
        parts = tuple(self._output(one.text) if one.is_output else one.text for one in pieces)
        outputs = list(dict.fromkeys(one for one in parts if isinstance(one, Output)))
        outputs = outputs or [self.planner.message]
        answer = add_answer(self.planner, beside, Template(parts), outputs[0])
        for output in {one.place: one for one in reversed(outputs)}.values():
            self.planner.connect(output, Output(answer, "target"), "any")
        return self._named("answer-{}", answer)

    def _output(self, name: str) -> Output:
        node_id, port = split_selector(name)
        return Output(self.places[node_id], port)
