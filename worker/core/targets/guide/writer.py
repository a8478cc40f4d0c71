"""Write a workflow out as a draft of the target `guide`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec
from msgspec import Raw

from worker.core.codes import quote
from worker.core.targets.guide.differences import TRIMMED
from worker.core.targets.guide.ports import PORTS, ROLES, TEXT_JOIN
from worker.core.targets.guide.rendering import CARRIED, PLACEHOLDER, carried, trimmed
from worker.core.workflow.config import LlmConfig
from worker.core.workflow.draft import Draft, DraftBuilder, DraftNode, after_port, mapping
from worker.core.workflow.draft_edges import End as EdgeEnd
from worker.core.workflow.plan import Plan, listed
from worker.core.workflow.v1 import Workflow
from worker.core.workflow.v1_texts import NO_LLM_ANSWER, SEPARATOR, own_prompt
from worker.core.workflow.v2 import RESERVED_IDS, Port, Ports
from worker.errors import BotError

# One text-join input for each search that each LLM sees: bounds a draft's size, which may otherwise
# grow with the square of the workflow's.
MAX_JOIN_INPUTS: Final = 20_000
_encode = msgspec.json.Encoder().encode
_STANDARD_PORTS: Final = {node_type: Raw(_encode(ports)) for node_type, ports in PORTS.items()}


def usable_id(node_id: str) -> str:
    """The id itself where a selector can name it, else one near it.

    >>> usable_id("llm-1"), usable_id("a.b"), usable_id("sys")
    ('llm-1', 'a_b', 'sys_node')
    """
    return f"{node_id}_node" if node_id in RESERVED_IDS else node_id.replace(".", "_")


def write(workflow: Workflow) -> Draft:
    """The draft of a workflow.

    Raises:
        BotError: `too_large`, where its LLM nodes see more searches together than a draft can hold.
    """
    return _Writer(Plan(workflow, ROLES, usable_id)).draft()


class _Writer:
    """One draft being written."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.builder = DraftBuilder(plan, _STANDARD_PORTS)
        self.join_inputs = 0
        self.warned_of_trimming = False

    def draft(self) -> Draft:
        plan, builder = self.plan, self.builder
        for one in plan.nodes.values():
            if "message" in one.role.takes:
                builder.map("message", plan.start.id, one.id)
        for one in plan.in_order:
            node = builder.nodes[one.id]
            if len(one.context) == 1:
                builder.map_and_connect("context", one.context[0], one.id)
            elif one.context:
                self._join(node)
            if one.response is not None and one is not plan.end:
                builder.map_and_connect("response", one.response, one.id)
            if isinstance(one.node.config, LlmConfig):
                self._write_prompt(node, one.node.config)
        if plan.end.response is not None:
            builder.map_and_connect("response", plan.end.response, plan.end.id)
        else:
            self._answer_without_llm()
        return builder.draft()

    def _join(self, node: DraftNode) -> None:
        """Put a text-join in front of a node's context."""
        plan, builder, target = self.plan, self.builder, node.planned
        sources, port = target.context, target.role.takes["context"]
        self.join_inputs += len(sources)
        if self.join_inputs > MAX_JOIN_INPUTS:
            raise BotError(
                "too_large",
                f"its LLM nodes see more than {MAX_JOIN_INPUTS:,} searches together, "
                "which a draft would have to spell out",
            )
        names = [f"text_{number}" for number in range(1, len(sources) + 1)]
        outputs = [plan.nodes[source].role.gives["context"] for source in sources]
        join = self._add_join(
            node,
            default="",
            inputs=[Port(name, "string", False, "이어 붙일 텍스트", name) for name in names],
            mappings={
                name: mapping(plan.new_ids[source], output)
                for name, source, output in zip(names, sources, outputs, strict=True)
            },
        )
        for name, source, output in zip(names, sources, outputs, strict=True):
            builder.connect(builder.end(source, output), EdgeEnd(join, TEXT_JOIN, name))
        node.mappings[port] = mapping(join, "text")
        builder.connect(EdgeEnd(join, TEXT_JOIN, "text"), builder.end(target.id, port))
        builder.warn(
            "join_node",
            target.id,
            f"{quote(join)} joins what {listed(dict.fromkeys(sources))} found: "
            f"the platform must have the node type {TEXT_JOIN}",
        )

    def _answer_without_llm(self) -> None:
        """A text-join that holds V1's fixed sentence: it has no text inputs, so it gives its default.

        The edge from the start makes it reachable; its port stays unmapped, so that nothing is
        joined.
        """
        plan, builder = self.plan, self.builder
        end = builder.nodes[plan.end.id]
        join = self._add_join(
            end, default=NO_LLM_ANSWER, inputs=[after_port("after", "string")], mappings={}
        )
        start = builder.end(plan.start.id, "query")
        builder.connect(start, EdgeEnd(join, TEXT_JOIN, "after"))
        builder.connect(EdgeEnd(join, TEXT_JOIN, "text"), builder.end(plan.end.id, "response"))
        end.mappings["response"] = mapping(join, "text")

    def _add_join(
        self, node: DraftNode, *, default: str, inputs: list[Port], mappings: Mapping[str, bytes]
    ) -> str:
        join = self.builder.free_id("text-join-{}")
        self.builder.add_node(
            join,
            TEXT_JOIN,
            beside=node.planned.id,
            data={"separator": SEPARATOR, "default": default},
            ports=Ports(tuple(inputs), PORTS[TEXT_JOIN].outputs),
            mappings=mappings,
        )
        return join

    def _write_prompt(self, node: DraftNode, config: LlmConfig) -> None:
        if not config.template:
            self._write_own_prompt(node)
            return
        template = carried(config.template)
        if template != config.template:
            node.data["prompt_template"] = Raw(_encode(template))
            found = dict.fromkeys(PLACEHOLDER.findall(config.template))
            self.builder.warn(
                "query_placeholder",
                node.planned.id,
                f"its prompt holds {' and '.join(found)}: plain text in V1, a placeholder in V2, so "
                f"the draft says {' and '.join(CARRIED[name] for name in found)}",
            )
        if trimmed(config.template) != config.template:
            self._warn_of_trimming(node)

    def _write_own_prompt(self, node: DraftNode) -> None:
        """V1's prompt for an empty template.

        V1 replaces nothing in what it fills in, so the message comes in by the last replacement.
        """
        with_context = bool(node.planned.context)
        template = own_prompt("{system_prompt}", "{context}" if with_context else "")
        node.data["prompt_template"] = Raw(_encode(template))
        node.mappings["system_prompt"] = node.mappings["query"]
        if with_context:
            self.builder.warn(
                "empty_template",
                node.planned.id,
                "where a search finds nothing V1 leaves the context line out; the draft keeps it",
            )

    def _warn_of_trimming(self, node: DraftNode) -> None:
        if not self.warned_of_trimming:
            self.warned_of_trimming = True
            self.builder.warn("prompt_trimmed", node.planned.id, TRIMMED.message)
