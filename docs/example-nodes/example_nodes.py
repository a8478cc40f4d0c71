"""Two node types: one that V1 has too, and one for V2 alone."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any

import msgspec

from worker.nodes import CustomNode, Node, Port, Ports, Providers


class FaqData(msgspec.Struct, frozen=True):
    """A faq node's `data`: answers by what a question must hold, and where to search otherwise."""

    entries: dict[str, str] = {}
    document_id: str = "faq"


class Faq(CustomNode[FaqData]):
    """V1's node `faq`: what it knows of the message joins what the searches found.

    It has no ports in V1. In a draft its question is mapped to the start's query, and its text to the
    context of every LLM behind it.
    """

    type = "faq"
    ports = Ports(
        inputs=(Port("question", required=True, display_name="질문"),),
        outputs=(Port("text", required=True, display_name="답변"),),
    )
    takes_message = "question"
    gives_context = "text"
    data_type = FaqData

    def run(self, inputs: Mapping[str, Any], data: FaqData, providers: Providers) -> dict[str, Any]:
        question = inputs["question"]
        known = [answer for word, answer in data.entries.items() if word in question]
        if not known:
            found = providers.retrieve(question, 1, [data.document_id])
            known = [document["content"] for document in found]
        return {"text": "\n".join(known)}


class MaskData(msgspec.Struct, frozen=True):
    """A mask-numbers node's `data`: how many digits at the end stay."""

    keep: Annotated[int, msgspec.Meta(ge=0)] = 4


class MaskNumbers(Node[MaskData]):
    """Hides long numbers, so that no card's reaches a screen. V1 has nothing like it."""

    type = "mask-numbers"
    ports = Ports(
        inputs=(Port("text", required=True),),
        outputs=(Port("text", required=True), Port("hidden", "number")),
    )
    data_type = MaskData

    def run(
        self,
        inputs: Mapping[str, Any],
        data: MaskData,
        providers: Providers,  # noqa: ARG002
    ) -> dict[str, Any]:
        def mask(number: re.Match[str]) -> str:
            shown = number[0][len(number[0]) - data.keep :]
            return shown.rjust(len(number[0]), "*")

        text, hidden = re.subn(r"\d{8,}", mask, inputs["text"])
        return {"text": text, "hidden": hidden}
