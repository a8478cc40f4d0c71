"""How a workflow is written out for the target `answer`: what V1 does, to the character."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple, cast

from worker.core.targets.answer.data import data_of, graph_keys
from worker.core.targets.answer.ending import Ending
from worker.core.targets.answer.ports import ROLES
from worker.core.targets.answer.prompts import Piece, pieces_of, plain
from worker.core.targets.answer.templates import usable_id
from worker.core.targets.answer.text_builder import TextBuilder
from worker.core.targets.plans import Manner, Prompts, Writer, check_context_inputs
from worker.core.workflow.config import LlmConfig
from worker.core.workflow.plan import Flow, Output, Planner, Template
from worker.core.workflow.v1 import Workflow
from worker.core.workflow.v1_texts import own_prompt
from worker.core.workflow.v2 import Port
from worker.core.workflow.wiring import Wiring


class TextForm(NamedTuple):
    """What of a text decides: `pieces` where answer nodes have to build it, else what it names.

    `asks` where V1's template holds `{question}`.
    """

    is_prompt: bool
    is_empty: bool
    asks: bool
    names_context: bool
    pieces: tuple[Piece, ...] | None = None


def read_prompts(wiring: Wiring, workflow: Workflow, ids: Sequence[str]) -> Prompts:
    """The prompts in this platform's plain form; empty where answer nodes build one.

    Raises:
        BotError: `too_large`, where its LLM nodes see more searches together than a draft can hold.
    """
    message = f"{ids[wiring.start]}.query"
    forms: list[TextForm | None] = []
    texts = []
    context_inputs = 0
    for place, node in enumerate(workflow.nodes):
        context, text = wiring.context[place], ""
        form: TextForm | None = None
        is_prompt = isinstance(node.config, LlmConfig)
        if is_prompt or len(context) > 1:
            context_inputs += len(context)
            check_context_inputs(context_inputs)
            template = node.config.template if isinstance(node.config, LlmConfig) else "{context}"
            used = template or own_prompt("{question}", "{context}" if context else "")
            given = [f"{ids[one]}.{wiring.roles[one].gives['context']}" for one in context]
            pieces = pieces_of(used, message, given)
            written = plain(pieces) if is_prompt else None
            form = TextForm(
                is_prompt,
                not template,
                is_prompt and "{question}" in template,
                bool(context) and "{context}" in used,
                tuple(pieces) if written is None else None,
            )
            text = written or ""
        forms.append(form)
        texts.append(text)
    is_built = any(form is not None and form.pieces is not None for form in forms)
    return Prompts(tuple(forms), texts, tuple(ids) if is_built else ())


def lay_out(planner: Planner, prompts: Prompts) -> None:
    """Say what is mapped, and which nodes are new."""
    _Layout(planner, prompts).lay_out()


WRITER: Final = Writer(Manner(ROLES, usable_id, read_prompts, lay_out, data_of, graph_keys))


class _Layout:
    """One draft being planned."""

    def __init__(self, planner: Planner, prompts: Prompts) -> None:
        self.planner = planner
        self.wiring = planner.wiring
        self.texts = TextBuilder(planner, prompts.names)
        self.forms = cast("Sequence[TextForm | None]", prompts.forms)

    def lay_out(self) -> None:
        planner, wiring = self.planner, self.wiring
        planner.map_message()
        for place in wiring.order:
            form, response = self.forms[place], wiring.response[place]
            if form is not None and form.is_prompt:
                self._write_prompt(place, form)
            elif wiring.context[place]:
                self._give_context(place, form)
            if response is not None and place != wiring.end:
                planner.map_and_connect("response", response, place)
        if (first := wiring.response[wiring.end]) is None:
            Ending(planner).without_llm()
        else:
            Ending(planner).first_response(first)
        self._warn_of_differences()

    def _write_prompt(self, place: int, form: TextForm) -> None:
        if form.is_empty and self.wiring.context[place]:
            self.planner.warn_of_empty_template(place)
        if form.pieces is not None:
            text = Output(self.texts.build(place, form.pieces), "final_output")
            self._add_input(place, "prompt", text)
            self.planner.nodes[place].prompt = Template((text,))
        elif form.names_context:
            self._show_context(place)

    def _show_context(self, place: int) -> None:
        """Give an LLM an input for each search that its template names: it may name no other outputs."""
        sources = dict.fromkeys(self.wiring.context[place])
        for number, source in enumerate(sources, start=1):
            self._add_input(place, f"context_{number}", self.planner.given("context", source))

    def _add_input(self, place: int, name: str, output: Output) -> None:
        """Add an input that takes an output; where V1 drew an edge from there, that one feeds it."""
        node, taken = self.planner.nodes[place], Output(place, name)
        node.extra_inputs.append(Port(name, "string", False, "프롬프트에 들어갈 텍스트", name))
        node.map(name, output)
        if (output.place, place) in self.wiring.connected:
            self.planner.flows[output.place, place] = Flow(output, taken)
        else:
            self.planner.connect(output, taken)

    def _give_context(self, place: int, form: TextForm | None) -> None:
        """Give a custom node its context; an answer node joins several."""
        planner = self.planner
        if form is None or form.pieces is None:
            planner.map_and_connect("context", self.wiring.context[place][0], place)
            return
        text = Output(self.texts.build(place, form.pieces), "final_output")
        taken = planner.taken("context", place)
        planner.nodes[place].map(taken.port, text)
        planner.connect(text, taken)

    def _warn_of_differences(self) -> None:
        """Say once per bot what no draft of this target can prevent."""
        wiring, warn = self.wiring, self.planner.warn
        if searches := tuple(one for one in wiring.searches if wiring.types[one] != "llm"):
            warn(
                "second_search",
                None,
                "where %s finds nothing, this platform searches again in all documents, and then "
                "gives a sentence of its own as the context; V1 gives an empty context",
                searches,
            )
            warn(
                "search_errors",
                None,
                "where a search of %s fails, this platform fails the execution; V1 answered "
                "without what was not found",
                searches,
            )
        asking = (one for one in wiring.order if (form := self.forms[one]) and form.asks)
        if asks := tuple(asking):
            warn(
                "context_in_message",
                None,
                "V1 replaces {context} in a message that holds it, before it asks %s; "
                "this platform leaves the message as it is",
                asks,
            )
