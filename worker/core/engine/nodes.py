"""V2's built-in node types."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Final

import msgspec

from worker.core.engine.template import render
from worker.core.workflow import config, v2
from worker.core.workflow.calls import Providers
from worker.core.workflow.node_types import Node

SEPARATOR: Final = "\n\n"
EVERY_DOCUMENT: Final = ("*",)


class NoData(msgspec.Struct, frozen=True):
    """For types that read nothing of their node's data."""


class Start(Node[NoData]):
    """Hands on the message, which the engine gives it."""

    type = "start"
    ports = v2.PORTS["start"]
    data_type = NoData

    def run(self, inputs: Mapping[str, Any], data: NoData, providers: Providers) -> dict[str, Any]:  # noqa: ARG002
        return dict(inputs)


class KnowledgeData(msgspec.Struct, frozen=True):
    """What a search reads of its data."""

    document_ids: tuple[str, ...] | None = None
    top_k: Annotated[int, msgspec.Meta(ge=1)] = 5


class KnowledgeRetrieval(Node[KnowledgeData]):
    """Searches for its query; everywhere, where the graph names no documents."""

    type = "knowledge-retrieval"
    ports = v2.PORTS["knowledge-retrieval"]
    data_type = KnowledgeData

    def run(
        self, inputs: Mapping[str, Any], data: KnowledgeData, providers: Providers
    ) -> dict[str, Any]:
        documents = providers.retrieve(
            as_text(inputs["query"]), data.top_k, data.document_ids or EVERY_DOCUMENT
        )
        return {
            "context": SEPARATOR.join([document["content"] for document in documents]),
            "documents": documents,
            "doc_count": len(documents),
        }


class LlmData(msgspec.Struct, frozen=True):
    """What a model is asked with; a graph that leaves something out gets these."""

    model: str = config.Defaults().model
    provider: str = config.Defaults().provider
    prompt_template: str = config.DEFAULT_TEMPLATE
    temperature: int | float = 0.7
    max_tokens: Annotated[int, msgspec.Meta(ge=1)] = 4000


class Llm(Node[LlmData]):
    """Asks a model; a system prompt, where one is mapped, goes before the prompt."""

    type = "llm"
    ports = v2.PORTS["llm"]
    data_type = LlmData

    def run(self, inputs: Mapping[str, Any], data: LlmData, providers: Providers) -> dict[str, Any]:
        prompt = render(
            data.prompt_template, as_text(inputs["query"]), as_text(inputs.get("context"))
        )
        if system_prompt := as_text(inputs.get("system_prompt")):
            prompt = system_prompt + SEPARATOR + prompt
        response, tokens = providers.generate(
            prompt, data.model, data.provider, data.temperature, data.max_tokens
        )
        return {"response": response, "tokens": tokens, "model": data.model}


class TextJoinData(msgspec.Struct, frozen=True):
    """What joins the texts, and what stands for none."""

    separator: str = SEPARATOR
    default: str = ""


class TextJoin(Node[TextJoinData]):
    """Joins its inputs that are not empty, in port order."""

    type = v2.TEXT_JOIN
    ports = v2.PORTS[v2.TEXT_JOIN]
    data_type = TextJoinData

    def run(
        self,
        inputs: Mapping[str, Any],
        data: TextJoinData,
        providers: Providers,  # noqa: ARG002
    ) -> dict[str, Any]:
        texts = [text for value in inputs.values() if (text := as_text(value))]
        return {"text": data.separator.join(texts) if texts else data.default}


class End(Node[NoData]):
    """Makes the response the execution's answer."""

    type = "end"
    ports = v2.PORTS["end"]
    data_type = NoData

    def run(self, inputs: Mapping[str, Any], data: NoData, providers: Providers) -> dict[str, Any]:  # noqa: ARG002
        return {"final_output": {"response": as_text(inputs["response"])}}


def as_text(value: object) -> str:
    """A value where a text is wanted: nothing is empty, what is no text is its JSON.

    >>> as_text("a"), as_text(None), as_text(["a", 1])
    ('a', '', '["a",1]')
    """
    if isinstance(value, str):
        return value
    return "" if value is None else msgspec.json.encode(value).decode()
