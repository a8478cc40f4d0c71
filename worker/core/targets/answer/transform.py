"""The template-transform of the engine `answer`, by the one template that is known."""

from __future__ import annotations

import re
from typing import Any, Final, cast

import msgspec

from worker.core.targets.answer.ports import PORTS, TEMPLATE_TRANSFORM
from worker.core.targets.answer.selectors import outputs_named, value_named
from worker.core.workflow.calls import Providers
from worker.core.workflow.node_types import Inputs, Node
from worker.core.workflow.v1_texts import SEPARATOR

_OUTPUT: Final = r"[A-Za-z_]\w*\.\w+"
_FILLED_PROMPT: Final = re.compile(
    r"\{% set context = "
    rf'(?:""|\((?P<lists>{_OUTPUT}(?: \+ {_OUTPUT})*)\)'
    r'\|map\(attribute="content"\)\|join\("\\n\\n"\)) %\}'
    rf'\{{\{{ prompt\|replace\("\{{question\}}", (?P<question>{_OUTPUT})\)'
    r'\|replace\("\{context\}", context\)\|safe \}\}'
)


class TransformData(msgspec.Struct, frozen=True):
    """A Jinja template, and what it is given beside the outputs of nodes."""

    template: str
    variables: dict[str, Any] = {}


class TemplateTransform(Node[TransformData]):
    """Fills a prompt, by the one template that is known: nothing else of Jinja is executed here.

    It replaces `{question}`, then `{context}`, in `variables.prompt`, with outputs that it names.
    """

    type = TEMPLATE_TRANSFORM
    ports = PORTS[TEMPLATE_TRANSFORM]
    data_type = TransformData

    def variables(self, data: TransformData) -> tuple[str, ...]:
        if (known := _FILLED_PROMPT.fullmatch(data.template)) is None:
            return ()
        return outputs_named([known["question"], *_lists(known)])

    def run(self, inputs: Inputs, data: TransformData, providers: Providers) -> dict[str, Any]:
        known = _FILLED_PROMPT.fullmatch(data.template)
        prompt = data.variables.get("prompt")
        if known is None or not isinstance(prompt, str):
            raise ValueError("its template is none that is executed here: Jinja is not")
        question = value_named(inputs, known["question"])
        lists = [value_named(inputs, one) for one in _lists(known)]
        if question is None or None in lists:
            return {"output": "", "length": 0, "success": False, "error": "a variable is undefined"}
        documents = [document for found in lists for document in cast("list[Any]", found)]
        context = SEPARATOR.join([one["content"] for one in documents])
        text = prompt.replace("{question}", question).replace("{context}", context)
        return {"output": text, "length": len(text), "success": True, "error": ""}


def _lists(known: re.Match[str]) -> list[str]:
    return known["lists"].split(" + ") if known["lists"] else []
