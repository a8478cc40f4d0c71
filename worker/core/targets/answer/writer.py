"""Write a workflow out as a draft of the target `answer`: what V1 does, to the character."""

from __future__ import annotations

from typing import Final

import msgspec
from msgspec import Raw

from worker.core.targets.answer.data import SET_ASIDE_OF_GRAPH, data_of, without
from worker.core.targets.answer.ending import Ending
from worker.core.targets.answer.parts import Parts
from worker.core.targets.answer.ports import ANSWER_TYPE, ROLES
from worker.core.targets.answer.prompts import Pieces, pieces_of, plain
from worker.core.targets.answer.templates import usable_id
from worker.core.targets.answer.text_builder import TextBuilder
from worker.core.workflow.config import LlmConfig
from worker.core.workflow.draft import Draft, DraftNode, mapping
from worker.core.workflow.draft_edges import End as EdgeEnd
from worker.core.workflow.draft_edges import Flow
from worker.core.workflow.json_values import NodeId
from worker.core.workflow.plan import Plan, PlannedNode, listed
from worker.core.workflow.v1 import Workflow
from worker.core.workflow.v1_texts import own_prompt
from worker.core.workflow.v2 import Port
from worker.errors import BotError

MAX_CONTEXT_INPUTS: Final = 20_000
"""One input for each search that each LLM sees: bounds a draft's size, which may otherwise grow with the
square of the workflow's."""

_encode = msgspec.json.Encoder().encode


def write(workflow: Workflow) -> Draft:
    """The draft of a workflow.

    Raises:
        BotError: `too_large`, where its LLM nodes see more searches together than a draft can hold.
    """
    keys = without(workflow.keys, SET_ASIDE_OF_GRAPH)
    workflow = msgspec.structs.replace(workflow, keys=keys)
    return _Writer(Plan(workflow, ROLES, usable_id)).draft()


class _Writer:
    """One draft being written."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.parts = Parts(plan)
        self.builder = self.parts.builder
        self.texts = TextBuilder(self.parts)
        self.context_inputs = 0

    def draft(self) -> Draft:
        plan, builder = self.plan, self.builder
        for one in plan.nodes.values():
            node = builder.nodes[one.id]
            node.data = data_of(one, node.data)
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
            Ending(self.parts).without_llm()
        else:
            Ending(self.parts).first_response(plan.end.response)
        self._warn_of_differences()
        return builder.draft()

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
        pieces = pieces_of(template, self.parts.message, self._context_outputs(planned))
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
        start, end = (
            EdgeEnd(source, self.parts.types[source], port),
            self.builder.end(target.id, name),
        )
        if drawn is not None and (drawn, target.id) in self.plan.connected:
            self.builder.flows[drawn, target.id] = Flow(start, end)
        else:
            self.builder.connect(start, end)

    def _built_prompt(self, node: DraftNode, pieces: Pieces) -> str:
        """The template of an LLM whose prompt answer nodes build."""
        text = self.texts.build(node.planned, pieces)
        self._add_input(node, "prompt", text, "final_output")
        return "{{" + f"{text}.final_output" + "}}"

    def _give_context(self, node: DraftNode) -> None:
        """Give a custom node its context; an answer node joins several."""
        planned = node.planned
        if len(planned.context) == 1:
            self.builder.map_and_connect("context", planned.context[0], planned.id)
            return
        pieces = pieces_of("{context}", self.parts.message, self._context_outputs(planned))
        text, port = self.texts.build(planned, pieces), planned.role.takes["context"]
        node.mappings[port] = mapping(text, "final_output")
        self.builder.connect(
            EdgeEnd(text, ANSWER_TYPE, "final_output"), self.builder.end(planned.id, port)
        )

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
