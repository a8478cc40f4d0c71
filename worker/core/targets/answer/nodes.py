"""The node types of the engine `answer`, as far as drafts of ours and the corpus need them.

What is not known of the platform is refused in words, never guessed.
"""

from __future__ import annotations

import re
from typing import Any, Final

import msgspec

from worker.core.engine import nodes
from worker.core.engine.nodes import EVERY_DOCUMENT, End, NoData
from worker.core.targets.answer.assigner import Assigner
from worker.core.targets.answer.branch import IfElse
from worker.core.targets.answer.ports import ANSWER_TYPE, PORTS
from worker.core.targets.answer.selectors import outputs_named, value_named
from worker.core.targets.answer.templates import render, variables
from worker.core.targets.answer.transform import TemplateTransform
from worker.core.workflow.calls import Providers
from worker.core.workflow.node_types import Inputs, Node
from worker.core.workflow.v1_texts import SEPARATOR

NOTHING_FOUND: Final = (
    "검색 결과가 없습니다. 해당 질문에 대한 정보가 RAG 문서에 등록되지 않았습니다. "
    "다른 질문을 시도해주시거나, 필요한 문서를 업로드해주세요."
)
"""The context that the platform gives where both searches find nothing."""


SIMPLE_NAMES: Final = ("{query}", "{question}", "{context}", "{system_prompt}")
"""What an LLM's prompt may hold besides variables, in the order in which they are replaced."""


class Start(Node[NoData]):
    """Hands on the message; there is none without a character."""

    type = "start"
    ports = PORTS["start"]
    data_type = NoData

    def run(self, inputs: Inputs, data: NoData, providers: Providers) -> dict[str, Any]:
        if not inputs["query"]:
            raise ValueError(
                "the message is empty: the platform does not run a workflow on nothing"
            )
        return dict(inputs)


class KnowledgeData(nodes.KnowledgeData, frozen=True):
    """What a search reads of its data."""

    similarity_threshold: int | float = 0.4


class Knowledge(Node[KnowledgeData]):
    """Searches for its query, and without its documents once more where it finds nothing."""

    type = "knowledge-retrieval"
    ports = PORTS["knowledge-retrieval"]
    data_type = KnowledgeData

    def run(self, inputs: Inputs, data: KnowledgeData, providers: Providers) -> dict[str, Any]:
        query = inputs["query"]
        if not query:
            raise ValueError("its query is empty")
        found = providers.retrieve(query, data.top_k, data.document_ids or EVERY_DOCUMENT)
        if not found and data.document_ids:
            found = providers.retrieve(query, data.top_k, EVERY_DOCUMENT)
        if not found:
            return {"context": NOTHING_FOUND, "documents": [], "doc_count": 0}
        near = [one for one in found if one.get("similarity", 0.0) >= data.similarity_threshold]
        if not near:
            raise ValueError(
                f"no document is as near as {data.similarity_threshold:g}: what the platform then adds "
                "to the context is not known here; set similarity_threshold to 0"
            )
        return {
            "context": SEPARATOR.join([one.get("content", "") for one in near]),
            "documents": near,
            "doc_count": len(near),
        }


class LlmData(msgspec.Struct, frozen=True):
    """What a model is asked with."""

    model: str | None = None
    provider: str | None = None
    prompt_template: str | None = None
    temperature: int | float = 0.7
    max_tokens: int = 4000


class Llm(Node[LlmData]):
    """Asks a model."""

    type = "llm"
    ports = PORTS["llm"]
    data_type = LlmData

    def variables(self, data: LlmData) -> tuple[str, ...]:
        return outputs_named([one.selector for one in variables(_stripped(data))])

    def run(self, inputs: Inputs, data: LlmData, providers: Providers) -> dict[str, Any]:
        if not data.model or not data.provider:
            raise ValueError("it names no model or no provider: the platform takes one of its own")
        response, tokens = providers.generate(
            prompt_of(_stripped(data), inputs),
            data.model,
            data.provider.lower(),
            data.temperature,
            data.max_tokens,
        )
        return {"response": response, "tokens": tokens, "model": data.model}


def _stripped(data: LlmData) -> str:
    return (data.prompt_template or "").strip()


def prompt_of(template: str, inputs: Inputs) -> str:
    """The prompt that an LLM makes of a stripped template and its inputs."""
    if not template:
        raise ValueError("it has no prompt: the platform takes one of its own")
    has_names = any(name in template for name in SIMPLE_NAMES)
    prompt = template
    if any(True for _ in variables(template)):
        own = {"context": "", "system_prompt": "", **inputs}
        prompt = render(template, lambda selector: value_named(own, selector))
    return _with_names(prompt, inputs) if has_names else prompt


def _with_names(prompt: str, inputs: Inputs) -> str:
    query = inputs.get("query") or ""
    values = (query, query, inputs.get("context") or "", inputs.get("system_prompt") or "")
    for name, value in zip(SIMPLE_NAMES, values, strict=True):
        prompt = prompt.replace(name, value)
    return re.sub(r"\n{3,}", "\n\n", prompt).strip()


class AnswerData(msgspec.Struct, frozen=True):
    """What an answer is made of."""

    template: str


class Answer(Node[AnswerData]):
    """Renders its template, character for character."""

    type = ANSWER_TYPE
    ports = PORTS[ANSWER_TYPE]
    data_type = AnswerData

    def variables(self, data: AnswerData) -> tuple[str, ...]:
        return outputs_named([one.selector for one in variables(data.template)])

    def run(self, inputs: Inputs, data: AnswerData, providers: Providers) -> dict[str, Any]:
        return {"final_output": render(data.template, lambda one: value_named(inputs, one))}


NODE_TYPES: Final = (
    *(Start(), Knowledge(), Llm(), End()),
    *(Answer(), Assigner(), IfElse(), TemplateTransform()),
)
"""The types that this engine executes."""
