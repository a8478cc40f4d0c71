"""How a draft answers: the first LLM's response, or V1's fixed sentence."""

from __future__ import annotations

from typing import Final

from worker.core.targets.answer.parts import Parts
from worker.core.targets.answer.ports import ANSWER_TYPE, IF_ELSE, PORTS
from worker.core.workflow.draft import DraftNode, after_port, mapping
from worker.core.workflow.draft_edges import End as EdgeEnd
from worker.core.workflow.draft_edges import Flow
from worker.core.workflow.json_values import NodeId
from worker.core.workflow.v1_texts import NO_LLM_ANSWER
from worker.core.workflow.v2 import Port, Ports, split_selector

_TRUE_PORTS: Final = (
    Port("if", "boolean", True, "조건이 맞을 때", "IF"),
    Port("else", "boolean", True, "조건이 맞지 않을 때", "ELSE"),
)


class Ending:
    """Writes the answer of a draft, and its ends."""

    def __init__(self, parts: Parts) -> None:
        self.parts = parts

    def without_llm(self) -> None:
        """V1's fixed sentence."""
        end = self.parts.plan.end
        answer = self.parts.add_answer(end.id, NO_LLM_ANSWER, mapped=self.parts.message)
        start = self.parts.builder.end(self.parts.plan.start.id, "query")
        self.parts.builder.connect(start, EdgeEnd(answer, ANSWER_TYPE, "target"), "any")
        self._end_with(answer, self.parts.builder.nodes[end.id])

    def first_response(self, first: NodeId) -> None:
        """What the first LLM says, and V1's fixed sentence where it says nothing: a branch before the end.

        All edges of V1 into the end lead to the branch. So both ends wait for the branch alone: one that
        also waited for others would run without its answer.
        """
        plan, builder = self.parts.plan, self.parts.builder
        nodes, end = plan.nodes, plan.end
        output = nodes[first].role.gives["response"]
        response = f"{nodes[first].new_id}.{output}"
        branch = self.parts.free("if-else-{}", IF_ELSE)
        self._add_branch(branch, first, response, output)
        said = self.parts.add_answer(end.id, "{{" + response + "}}", mapped=response)
        nothing = self.parts.add_answer(end.id, NO_LLM_ANSWER, mapped=f"{branch}.else")
        for way, answer in (("if", said), ("else", nothing)):
            self.parts.builder.connect(
                EdgeEnd(branch, IF_ELSE, way), EdgeEnd(answer, ANSWER_TYPE, "target"), "boolean"
            )
        self._end_with(said, builder.nodes[end.id])
        other = self.parts.free("end-{}", "end")
        builder.add_node(
            other,
            "end",
            beside=end.id,
            data={},
            ports=PORTS["end"],
            mappings={"response": mapping(nothing, "final_output")},
        )
        self.parts.builder.connect(
            EdgeEnd(nothing, ANSWER_TYPE, "final_output"), EdgeEnd(other, "end", "response")
        )

    def _end_with(self, answer: str, end: DraftNode) -> None:
        end.mappings["response"] = mapping(answer, "final_output")
        self.parts.builder.connect(
            EdgeEnd(answer, ANSWER_TYPE, "final_output"),
            self.parts.builder.end(end.planned.id, "response"),
        )

    def _add_branch(self, branch: str, first: NodeId, response: str, output: str) -> None:
        plan, builder = self.parts.plan, self.parts.builder
        inputs = [Port("response", "string", True, "첫 번째 응답", "응답")]
        mappings = {"response": mapping(*split_selector(response))}
        said = builder.end(first, output), EdgeEnd(branch, IF_ELSE, "response")
        if (first, plan.end.id) not in plan.connected:
            builder.connect(*said)
        for edge in plan.workflow.edges:
            key = edge.source, plan.end.id
            if edge.target != plan.end.id or key in builder.flows:
                continue
            if edge.source == first:
                builder.flows[key] = Flow(*said)
                continue
            name = f"after_{len(inputs)}" if len(inputs) > 1 else "after"
            given = builder.nodes[edge.source].ports.outputs[0]
            inputs.append(after_port(name, given.type))
            mappings[name] = mapping(plan.nodes[edge.source].new_id, given.name, given.type)
            start = builder.end(edge.source, given.name)
            builder.flows[key] = Flow(start, EdgeEnd(branch, IF_ELSE, name), given.type)
        builder.add_node(
            branch,
            IF_ELSE,
            beside=plan.end.id,
            data={
                "cases": [
                    {
                        "case_id": "answered",
                        "logical_operator": "and",
                        "conditions": [
                            {
                                "variable_selector": response,
                                "comparison_operator": "not empty",
                                "value": "",
                                "varType": "string",
                            }
                        ],
                    }
                ]
            },
            ports=Ports(tuple(inputs), _TRUE_PORTS),
            mappings=mappings,
        )
