"""Answer nodes that build a text out of pieces, character for character."""

from __future__ import annotations

from collections.abc import Sequence

from worker.core.targets.answer.parts import Parts
from worker.core.targets.answer.ports import ANSWER_TYPE, ASSIGNER, result_port, target_port
from worker.core.targets.answer.prompts import Piece, Pieces, built, constant, cut
from worker.core.workflow.draft import mapping
from worker.core.workflow.draft_edges import End as EdgeEnd
from worker.core.workflow.plan import PlannedNode
from worker.core.workflow.v2 import Port, Ports, split_selector


class TextBuilder:
    """Builds texts in a draft: answer nodes, and an assigner that holds what they must not read."""

    def __init__(self, parts: Parts) -> None:
        self.parts = parts

    def build(self, beside: PlannedNode, pieces: Pieces) -> str:
        """Answer nodes that put pieces together, character for character; the id of the last."""
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
        return self._add_text(beside, runs[0])

    def _constants(self, beside: PlannedNode, texts: Sequence[str]) -> dict[str, str]:
        """An assigner that holds texts; the output of each, by the name that it had so far."""
        assigner = self.parts.free("assigner-{}", ASSIGNER)
        any_port = self._any_port
        self.parts.builder.add_node(
            assigner,
            ASSIGNER,
            beside=beside.id,
            data={
                "version": "2",
                "operations": [
                    {"write_mode": "set", "input_type": "constant", "constant_value": text}
                    for text in texts
                ],
            },
            ports=Ports(
                tuple(any_port(target_port(i), "대상") for i in range(len(texts))),
                tuple(any_port(result_port(i), "결과") for i in range(len(texts))),
            ),
            mappings={
                target_port(i): mapping(*split_selector(self.parts.message), "any")
                for i in range(len(texts))
            },
        )
        start = self.parts.builder.end(self.parts.plan.start.id, "query")
        self.parts.builder.connect(start, EdgeEnd(assigner, ASSIGNER, target_port(0)), "any")
        return {constant(i): f"{assigner}.{result_port(i)}" for i in range(len(texts))}

    @staticmethod
    def _any_port(name: str, shown: str) -> Port:
        return Port(name, "any", True, shown, name)

    def _add_text(self, beside: PlannedNode, pieces: Pieces) -> str:
        """An answer node that puts pieces together, with an edge from each node that it names."""
        outputs = list(dict.fromkeys(one.text for one in pieces if one.is_output)) or [
            self.parts.message
        ]
        node_id = self.parts.add_answer(
            beside.id, "".join(one.written for one in pieces), mapped=outputs[0]
        )
        for source, port in dict(map(split_selector, reversed(outputs))).items():
            start = EdgeEnd(source, self.parts.types[source], port)
            self.parts.builder.connect(start, EdgeEnd(node_id, ANSWER_TYPE, "target"), "any")
        return node_id
