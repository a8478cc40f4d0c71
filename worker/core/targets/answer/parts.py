"""What every part of a draft of this target is added with."""

from __future__ import annotations

from typing import Final

import msgspec
from msgspec import Raw

from worker.core.targets.answer.ports import ANSWER_TYPE, PORTS, ROLES
from worker.core.workflow.draft import DraftBuilder, mapping
from worker.core.workflow.json_values import NodeId
from worker.core.workflow.plan import Plan
from worker.core.workflow.v2 import split_selector

_encode = msgspec.json.Encoder().encode
_STANDARD_PORTS: Final = {
    node_type: Raw(_encode(ROLES[node_type].ports if node_type in ROLES else ports))
    for node_type, ports in PORTS.items()
}


class Parts:
    """A draft being written: its plan, its builder, and the type of every node, new ones included.

    `message` is the output that holds the user's message.
    """

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.builder = DraftBuilder(plan, _STANDARD_PORTS)
        self.message = f"{plan.start.new_id}.query"
        self.types = {one.new_id: one.node.type for one in plan.nodes.values()}

    def free(self, pattern: str, node_type: str) -> str:
        """The id of a new node of a type: `pattern` with a number that is free."""
        node_id = self.builder.free_id(pattern)
        self.types[node_id] = node_type
        return node_id

    def add_answer(self, beside: NodeId, template: str, *, mapped: str) -> str:
        """Add an answer node; its id. `mapped` is the output that its target takes."""
        node_id = self.free("answer-{}", ANSWER_TYPE)
        self.builder.add_node(
            node_id,
            ANSWER_TYPE,
            beside=beside,
            data={"template": template, "output_format": "text"},
            ports=PORTS[ANSWER_TYPE],
            mappings={"target": mapping(*split_selector(mapped), "any")},
        )
        return node_id
