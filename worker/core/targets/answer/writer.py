"""Write a workflow out as a draft of the target `answer`: what V1 does, to the character."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Final

import msgspec
from msgspec import Raw

from worker.core.targets.answer.ports import (
    ANSWER_TYPE,
    ASSIGNER,
    IF_ELSE,
    PORTS,
    ROLES,
    result_port,
    target_port,
)
from worker.core.targets.answer.prompts import (
    Piece,
    Pieces,
    built,
    constant,
    cut,
    pieces_of,
    plain,
)
from worker.core.targets.answer.templates import usable_id
from worker.core.workflow.config import LlmConfig
from worker.core.workflow.draft import Draft, DraftBuilder, DraftNode, Flow, after_port, mapping
from worker.core.workflow.draft import End as EdgeEnd
from worker.core.workflow.plan import Plan, PlannedNode, listed
from worker.core.workflow.v1 import JsonObject, NodeId, Workflow, text_of
from worker.core.workflow.v1_texts import (
    NO_LLM_ANSWER,
    own_prompt,
)
from worker.core.workflow.v2 import Port, Ports, split_selector
from worker.errors import BotError

MAX_CONTEXT_INPUTS: Final = 20_000
"""One input for each search that each LLM sees: bounds a draft's size, which may otherwise grow with the
square of the workflow's."""

_encode = msgspec.json.Encoder().encode
_STANDARD_PORTS: Final = {
    node_type: Raw(_encode(ROLES[node_type].ports if node_type in ROLES else ports))
    for node_type, ports in PORTS.items()
}
_TRUE_PORTS: Final = (
    Port("if", "boolean", True, "조건이 맞을 때", "IF"),
    Port("else", "boolean", True, "조건이 맞지 않을 때", "ELSE"),
)

# Keys that said nothing to V1 and mean something to this platform: they stay under another name.
_SET_ASIDE: Final[Mapping[str, tuple[str, ...]]] = {
    "start": ("ports", "port_bindings", "output_schema"),
    "knowledge-retrieval": ("similarity_threshold", "persist_to_conversation"),
    "llm": ("template", "allow_conversation_context_fallback", "conversation_context_key"),
    "end": (),
}
_CONVERSATION_KEY: Final = re.compile("conversation_.*_key", re.DOTALL)
_SET_ASIDE_OF_GRAPH: Final = (
    *("environment_variables", "conversation_variables", "workflow_version_id"),
)


def write(workflow: Workflow) -> Draft:
    """The draft of a workflow.

    Raises:
        BotError: `too_large`, where its LLM nodes see more searches together than a draft can hold.
    """
    keys = _without(workflow.keys, _SET_ASIDE_OF_GRAPH)
    workflow = msgspec.structs.replace(workflow, keys=keys)
    return _Writer(Plan(workflow, ROLES, usable_id)).draft()


def _without(keys: JsonObject, names: Sequence[str]) -> JsonObject:
    """The same keys, those with the names put aside as `v1_…`."""
    kept = dict(keys)
    for name in names:
        if name in kept:
            aside, number = f"v1_{name}", 1
            while aside in kept:
                number += 1
                aside = f"v1_{name}_{number}"
            kept[aside] = kept.pop(name)
    return kept


class _Writer:
    """One draft being written."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.builder = DraftBuilder(plan, _STANDARD_PORTS)
        self.message = f"{plan.start.new_id}.query"
        self.types = {one.new_id: one.node.type for one in plan.nodes.values()}
        self.context_inputs = 0

    def draft(self) -> Draft:
        plan, builder = self.plan, self.builder
        for one in plan.nodes.values():
            node = builder.nodes[one.id]
            node.data = _data(one, node.data)
            if "message" in one.role.takes:
                builder.map("message", plan.start.id, one.id)
        for one in plan.in_order:
            node = builder.nodes[one.id]
            if isinstance(one.node.config, LlmConfig):
                self._write_prompt(node, one.node.config)
            elif one.context:
                self._give_context(node)
            if one.response is not None and one is not plan.end:
                builder.map_and_connect("response", one.response, one.id)
        if plan.end.response is None:
            self._answer_without_llm()
        else:
            self._answer(plan.end.response)
        self._warn_of_differences()
        return builder.draft()

    # -- prompts -----------------------------------------------------------------------------------

    def _write_prompt(self, node: DraftNode, config: LlmConfig) -> None:
        template, planned = config.template, node.planned
        if not template:
            template = own_prompt("{question}", "{context}" if planned.context else "")
            if planned.context:
                self.builder.warn(
                    "empty_template",
                    planned.id,
                    "where a search finds nothing V1 leaves the context line out; the draft keeps it",
                )
        pieces = pieces_of(template, self.message, self._context_outputs(planned))
        own = plain(pieces)
        if own is None:
            own = self._built_prompt(node, pieces)
        else:
            self._show(node, pieces)
        node.data["prompt_template"] = Raw(_encode(own))

    def _context_outputs(self, planned: PlannedNode) -> list[str]:
        self.context_inputs += len(planned.context)
        if self.context_inputs > MAX_CONTEXT_INPUTS:
            raise BotError(
                "too_large",
                f"its LLM nodes see more than {MAX_CONTEXT_INPUTS:,} searches together, "
                "which a draft would have to spell out",
            )
        nodes = self.plan.nodes
        return [
            f"{nodes[one].new_id}.{nodes[one].role.gives['context']}" for one in planned.context
        ]

    def _show(self, node: DraftNode, pieces: Pieces) -> None:
        """Give an LLM an input for each search that its template names: it may name no other outputs."""
        nodes = self.plan.nodes
        given = {one.text for one in pieces if one.is_output}
        number = 0
        for source in dict.fromkeys(node.planned.context):
            port = nodes[source].role.gives["context"]
            if f"{nodes[source].new_id}.{port}" not in given:
                continue
            number += 1
            self._add_input(node, f"context_{number}", nodes[source].new_id, port, source)

    def _add_input(
        self, node: DraftNode, name: str, source: str, port: str, drawn: NodeId | None = None
    ) -> None:
        """Add an input that takes an output; where V1 drew an edge from there, that one feeds it."""
        target = node.planned
        node.extra_inputs.append(Port(name, "string", False, "프롬프트에 들어갈 텍스트", name))
        node.mappings[name] = mapping(source, port)
        start, end = EdgeEnd(source, self.types[source], port), self.builder.end(target.id, name)
        if drawn is not None and (drawn, target.id) in self.plan.connected:
            self.builder.flows[drawn, target.id] = Flow(start, end)
        else:
            self.builder.connect(start, end)

    def _built_prompt(self, node: DraftNode, pieces: Pieces) -> str:
        """The template of an LLM whose prompt answer nodes build."""
        text = self._build(node.planned, pieces)
        self._add_input(node, "prompt", text, "final_output")
        return "{{" + f"{text}.final_output" + "}}"

    def _build(self, beside: PlannedNode, pieces: Pieces) -> str:
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
        assigner = self._free("assigner-{}", ASSIGNER)
        any_port = self._any_port
        self.builder.add_node(
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
                target_port(i): mapping(*split_selector(self.message), "any")
                for i in range(len(texts))
            },
        )
        start = self.builder.end(self.plan.start.id, "query")
        self.builder.connect(start, EdgeEnd(assigner, ASSIGNER, target_port(0)), "any")
        return {constant(i): f"{assigner}.{result_port(i)}" for i in range(len(texts))}

    @staticmethod
    def _any_port(name: str, shown: str) -> Port:
        return Port(name, "any", True, shown, name)

    def _add_text(self, beside: PlannedNode, pieces: Pieces) -> str:
        """An answer node that puts pieces together, with an edge from each node that it names."""
        outputs = list(dict.fromkeys(one.text for one in pieces if one.is_output)) or [self.message]
        node_id = self._add_answer(
            beside.id, "".join(one.written for one in pieces), mapped=outputs[0]
        )
        for source, port in dict(map(split_selector, reversed(outputs))).items():
            start = EdgeEnd(source, self.types[source], port)
            self.builder.connect(start, EdgeEnd(node_id, ANSWER_TYPE, "target"), "any")
        return node_id

    def _add_answer(self, beside: NodeId, template: str, *, mapped: str) -> str:
        node_id = self._free("answer-{}", ANSWER_TYPE)
        self.builder.add_node(
            node_id,
            ANSWER_TYPE,
            beside=beside,
            data={"template": template, "output_format": "text"},
            ports=PORTS[ANSWER_TYPE],
            mappings={"target": mapping(*split_selector(mapped), "any")},
        )
        return node_id

    def _free(self, pattern: str, node_type: str) -> str:
        node_id = self.builder.free_id(pattern)
        self.types[node_id] = node_type
        return node_id

    def _give_context(self, node: DraftNode) -> None:
        """Give a node of an installation's own its context; an answer node joins several."""
        planned = node.planned
        if len(planned.context) == 1:
            self.builder.map_and_connect("context", planned.context[0], planned.id)
            return
        pieces = pieces_of("{context}", self.message, self._context_outputs(planned))
        text, port = self._build(planned, pieces), planned.role.takes["context"]
        node.mappings[port] = mapping(text, "final_output")
        self.builder.connect(
            EdgeEnd(text, ANSWER_TYPE, "final_output"), self.builder.end(planned.id, port)
        )

    # -- the answer --------------------------------------------------------------------------------

    def _answer_without_llm(self) -> None:
        """V1's fixed sentence."""
        end = self.plan.end
        answer = self._add_answer(end.id, NO_LLM_ANSWER, mapped=self.message)
        start = self.builder.end(self.plan.start.id, "query")
        self.builder.connect(start, EdgeEnd(answer, ANSWER_TYPE, "target"), "any")
        self._end_with(answer, self.builder.nodes[end.id])

    def _end_with(self, answer: str, end: DraftNode) -> None:
        end.mappings["response"] = mapping(answer, "final_output")
        self.builder.connect(
            EdgeEnd(answer, ANSWER_TYPE, "final_output"),
            self.builder.end(end.planned.id, "response"),
        )

    def _answer(self, first: NodeId) -> None:
        """What the first LLM says, and V1's fixed sentence where it says nothing: a branch before the end.

        All edges of V1 into the end lead to the branch. So both ends wait for the branch alone: one that
        also waited for others would run without its answer.
        """
        plan, builder = self.plan, self.builder
        nodes, end = plan.nodes, plan.end
        output = nodes[first].role.gives["response"]
        response = f"{nodes[first].new_id}.{output}"
        branch = self._free("if-else-{}", IF_ELSE)
        self._add_branch(branch, first, response, output)
        said = self._add_answer(end.id, "{{" + response + "}}", mapped=response)
        nothing = self._add_answer(end.id, NO_LLM_ANSWER, mapped=f"{branch}.else")
        for way, answer in (("if", said), ("else", nothing)):
            self.builder.connect(
                EdgeEnd(branch, IF_ELSE, way), EdgeEnd(answer, ANSWER_TYPE, "target"), "boolean"
            )
        self._end_with(said, builder.nodes[end.id])
        other = self._free("end-{}", "end")
        builder.add_node(
            other,
            "end",
            beside=end.id,
            data={},
            ports=PORTS["end"],
            mappings={"response": mapping(nothing, "final_output")},
        )
        self.builder.connect(
            EdgeEnd(nothing, ANSWER_TYPE, "final_output"), EdgeEnd(other, "end", "response")
        )

    def _add_branch(self, branch: str, first: NodeId, response: str, output: str) -> None:
        plan, builder = self.plan, self.builder
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

    # -- what cannot be equal ----------------------------------------------------------------------

    def _warn_of_differences(self) -> None:
        """Say once per bot what no draft of this target can prevent."""
        plan, warn = self.plan, self.builder.warn
        if searches := [one for one in plan.searches if plan.nodes[one].node.type != "llm"]:
            named = listed(searches)
            warn(
                "second_search",
                None,
                f"where {named} finds nothing, this platform searches again in all documents, and then "
                "gives a sentence of its own as the context; V1 gives an empty context",
            )
            warn(
                "search_errors",
                None,
                f"where a search of {named} fails, this platform fails the execution; V1 answered "
                "without what was not found",
            )
        asking = [
            one.id
            for one in plan.in_order
            if isinstance(one.node.config, LlmConfig) and "{question}" in one.node.config.template
        ]
        if asking:
            warn(
                "context_in_message",
                None,
                f"V1 replaces {{context}} in a message that holds it, before it asks {listed(asking)}; "
                "this platform leaves the message as it is",
            )


def _data(planned: PlannedNode, normalised: JsonObject) -> JsonObject:
    """A node's data as V1 read it, with what this platform alone would read put aside."""
    node_type = planned.node.type
    aside = list(_SET_ASIDE.get(node_type, ()))
    if node_type == "knowledge-retrieval":
        aside += [key for key in normalised if _CONVERSATION_KEY.fullmatch(key)]
    data = _without(normalised, aside)
    if "type" in data and text_of(data["type"]) != node_type:
        data = _without(data, ("type",))
    data["type"] = Raw(_encode(node_type))
    if node_type == "knowledge-retrieval":
        data["similarity_threshold"] = Raw(b"0")
    return data
