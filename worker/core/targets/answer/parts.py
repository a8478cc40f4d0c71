"""What every part of a draft of this target is planned with."""

from __future__ import annotations

from worker.core.targets.answer.ports import ANSWER_TYPE, PORTS
from worker.core.workflow.plan import Mapped, Output, Planner, Template


class Parts:
    """A draft being planned; `message` is the output that holds the user's message."""

    def __init__(self, planner: Planner) -> None:
        self.planner = planner
        self.wiring = planner.wiring
        self.message = Output(planner.wiring.start, "query")

    def add_answer(self, beside: int, template: str | Template, *, mapped: Output) -> int:
        """Add an answer node; its place. `mapped` is the output that its target takes."""
        return self.planner.add_node(
            "answer-{}",
            ANSWER_TYPE,
            beside=beside,
            data={"template": template, "output_format": "text"},
            ports=PORTS[ANSWER_TYPE],
            mappings=[Mapped("target", mapped, "any")],
        )
