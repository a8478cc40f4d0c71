"""How a workflow is written out for the target `guide`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple, cast

from worker.core.targets.guide.ports import PORTS, ROLES, TEXT_JOIN
from worker.core.targets.guide.rendering import CARRIED, TRIMMED, carried, placeholders, trimmed
from worker.core.targets.plans import Manner, Prompts, Writer, check_context_inputs
from worker.core.workflow.config import LlmConfig
from worker.core.workflow.plan import Mapped, Output, Planner, after_port
from worker.core.workflow.v1 import Workflow
from worker.core.workflow.v1_texts import NO_LLM_ANSWER, SEPARATOR, own_prompt
from worker.core.workflow.v2 import RESERVED_IDS, Port, Ports
from worker.core.workflow.wiring import Wiring


class PromptForm(NamedTuple):
    """What of a prompt decides: the placeholders of V2 that it holds, and whether V2 trims it."""

    is_empty: bool
    placeholders: tuple[str, ...]
    is_trimmed: bool


def usable_id(node_id: str) -> str:
    """The id itself where a selector can name it, else one near it.

    >>> usable_id("llm-1"), usable_id("a.b"), usable_id("sys")
    ('llm-1', 'a_b', 'sys_node')
    """
    return f"{node_id}_node" if node_id in RESERVED_IDS else node_id.replace(".", "_")


def read_prompts(wiring: Wiring, workflow: Workflow, ids: Sequence[str]) -> Prompts:  # noqa: ARG001
    """The prompts that this engine renders as V1 renders its own.

    V1 replaces nothing in what it fills into its prompt for an empty template, so the message comes in
    by the last replacement there.
    """
    forms: list[PromptForm | None] = []
    texts = []
    for context, node in zip(wiring.context, workflow.nodes, strict=True):
        if not isinstance(node.config, LlmConfig):
            forms.append(None)
            texts.append("")
        elif template := node.config.template:
            found = placeholders(template)
            forms.append(PromptForm(False, found, trimmed(template) != template))
            texts.append(carried(template) if found else template)
        else:
            forms.append(PromptForm(True, (), False))
            texts.append(own_prompt("{system_prompt}", "{context}" if context else ""))
    return Prompts(tuple(forms), texts)


def lay_out(planner: Planner, prompts: Prompts) -> None:
    """Say what is mapped, and which nodes are new.

    Raises:
        BotError: `too_large`, where its LLM nodes see more searches together than a draft can hold.
    """
    _Layout(planner, cast("Sequence[PromptForm | None]", prompts.forms)).lay_out()


WRITER: Final = Writer(Manner(ROLES, usable_id, read_prompts, lay_out))


class _Layout:
    """One draft being planned."""

    def __init__(self, planner: Planner, forms: Sequence[PromptForm | None]) -> None:
        self.planner = planner
        self.wiring = planner.wiring
        self.forms = forms
        self.join_inputs = 0
        self.warned_of_trimming = False

    def lay_out(self) -> None:
        planner, wiring = self.planner, self.wiring
        planner.map_message()
        for place in wiring.order:
            context, response = wiring.context[place], wiring.response[place]
            if len(context) == 1:
                planner.map_and_connect("context", context[0], place)
            elif context:
                self._join(place)
            if response is not None and place != wiring.end:
                planner.map_and_connect("response", response, place)
            if (form := self.forms[place]) is not None:
                self._prompt(place, form)
        if (answer := wiring.response[wiring.end]) is not None:
            planner.map_and_connect("response", answer, wiring.end)
        else:
            self._answer_without_llm()

    def _join(self, place: int) -> None:
        """Put a text-join in front of a node's context."""
        planner = self.planner
        sources = self.wiring.context[place]
        self.join_inputs += len(sources)
        check_context_inputs(self.join_inputs)
        given = {
            f"text_{number}": planner.given("context", source)
            for number, source in enumerate(sources, start=1)
        }
        join = self._add_join(
            place,
            default="",
            inputs=[Port(name, "string", False, "이어 붙일 텍스트", name) for name in given],
            mappings=given,
        )
        for name, output in given.items():
            planner.connect(output, Output(join, name))
        taken, text = planner.taken("context", place), Output(join, "text")
        planner.nodes[place].map(taken.port, text)
        planner.connect(text, taken)
        planner.warn(
            "join_node",
            place,
            f"%s joins what %s found: the platform must have the node type {TEXT_JOIN}",
            (join,),
            tuple(dict.fromkeys(sources)),
        )

    def _answer_without_llm(self) -> None:
        """A text-join that holds V1's fixed sentence: it has no text inputs, so it gives its default.

        The edge from the start makes it reachable; its port stays unmapped, so that nothing is
        joined.
        """
        planner, end = self.planner, self.wiring.end
        join = self._add_join(
            end, default=NO_LLM_ANSWER, inputs=[after_port("after", "string")], mappings={}
        )
        text, response = Output(join, "text"), Output(end, "response")
        planner.connect(planner.message, Output(join, "after"))
        planner.connect(text, response)
        planner.nodes[end].map(response.port, text)

    def _add_join(
        self, place: int, *, default: str, inputs: list[Port], mappings: Mapping[str, Output]
    ) -> int:
        return self.planner.add_node(
            "text-join-{}",
            TEXT_JOIN,
            beside=place,
            data={"separator": SEPARATOR, "default": default},
            ports=Ports(tuple(inputs), PORTS[TEXT_JOIN].outputs),
            mappings=[Mapped(name, output) for name, output in mappings.items()],
        )

    def _prompt(self, place: int, form: PromptForm) -> None:
        """Map what a prompt needs, and warn of what differs."""
        planner = self.planner
        if form.is_empty:
            query = planner.nodes[place].mappings["query"]
            planner.nodes[place].map("system_prompt", query.source)
            if self.wiring.context[place]:
                planner.warn_of_empty_template(place)
        if form.placeholders:
            planner.warn(
                "query_placeholder",
                place,
                f"its prompt holds {' and '.join(form.placeholders)}: plain text in V1, a placeholder "
                f"in V2, so the draft says {' and '.join(CARRIED[one] for one in form.placeholders)}",
            )
        if form.is_trimmed and not self.warned_of_trimming:
            self.warned_of_trimming = True
            planner.warn("prompt_trimmed", place, TRIMMED.message)
