"""How a draft answers: the first LLM's response, or V1's fixed sentence."""

from __future__ import annotations

from typing import Final

from worker.core.targets.answer.ports import IF_ELSE, PORTS
from worker.core.targets.answer.text_builder import add_answer
from worker.core.workflow.plan import Flow, Mapped, Output, Planner, Template, after_port
from worker.core.workflow.v1_texts import NO_LLM_ANSWER
from worker.core.workflow.v2 import Port, Ports

_TRUE_PORTS: Final = (
    Port("if", "boolean", True, "조건이 맞을 때", "IF"),
    Port("else", "boolean", True, "조건이 맞지 않을 때", "ELSE"),
)


class Ending:
    """Plans the answer of a draft, and its ends."""

    def __init__(self, planner: Planner) -> None:
        self.planner = planner
        self.wiring = planner.wiring

    def without_llm(self) -> None:
        """V1's fixed sentence."""
        message = self.planner.message
        answer = add_answer(self.planner, self.wiring.end, NO_LLM_ANSWER, message)
        self.planner.connect(message, Output(answer, "target"), "any")
        self._end_with(answer)

    def first_response(self, first: int) -> None:
        """What the first LLM says, and V1's fixed sentence where it says nothing: a branch before the end.

        All edges of V1 into the end lead to the branch. So both ends wait for the branch alone: one that
        also waited for others would run without its answer.
        """
        planner, end = self.planner, self.wiring.end
        response = planner.given("response", first)
        branch = self._add_branch(response)
        said = add_answer(planner, end, Template((response,)), response)
        nothing = add_answer(planner, end, NO_LLM_ANSWER, Output(branch, "else"))
        for way, answer in (("if", said), ("else", nothing)):
            planner.connect(Output(branch, way), Output(answer, "target"), "boolean")
        self._end_with(said)
        fixed = Output(nothing, "final_output")
        other = planner.add_node(
            "end-{}",
            "end",
            beside=end,
            data={},
            ports=PORTS["end"],
            mappings=[Mapped("response", fixed)],
        )
        planner.connect(fixed, Output(other, "response"))

    def _end_with(self, answer: int) -> None:
        text, response = Output(answer, "final_output"), Output(self.wiring.end, "response")
        self.planner.nodes[response.place].map(response.port, text)
        self.planner.connect(text, response)

    def _add_branch(self, response: Output) -> int:
        """Add the branch, and lead to it the edges into the end that have no flow; its place."""
        planner, end = self.planner, self.wiring.end
        branch, first = planner.next_place, response.place
        inputs = [Port("response", "string", True, "첫 번째 응답", "응답")]
        mappings = [Mapped("response", response)]
        said = Flow(response, Output(branch, "response"))
        if (first, end) not in self.wiring.connected:
            planner.connect(said.source, said.target)
        for source in self.wiring.sources[end]:
            if (source, end) in planner.flows:
                continue
            if source == first:
                planner.flows[source, end] = said
                continue
            name = f"after_{len(inputs)}" if len(inputs) > 1 else "after"
            port = planner.nodes[source].role.ports.outputs[0]
            inputs.append(after_port(name, port.type))
            mappings.append(Mapped(name, Output(source, port.name), port.type))
            planner.flows[source, end] = Flow(mappings[-1].source, Output(branch, name), port.type)
        answered = {
            "variable_selector": response,
            "comparison_operator": "not empty",
            "value": "",
            "varType": "string",
        }
        case = {"case_id": "answered", "logical_operator": "and", "conditions": [answered]}
        return planner.add_node(
            "if-else-{}",
            IF_ELSE,
            beside=end,
            data={"cases": [case]},
            ports=Ports(tuple(inputs), _TRUE_PORTS),
            mappings=mappings,
        )
