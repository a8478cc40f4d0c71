"""The node types of the engine `guide` that no other target shares."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec

from worker.core.engine.nodes import as_text
from worker.core.targets.guide.ports import PORTS, TEXT_JOIN
from worker.core.targets.guide.rendering import render
from worker.core.workflow import config
from worker.core.workflow.calls import Providers
from worker.core.workflow.node_types import Inputs, Node
from worker.core.workflow.v1_texts import DEFAULT_TEMPLATE, SEPARATOR


class LlmData(msgspec.Struct, frozen=True):
    """What a model is asked with; a graph that leaves something out gets these."""

    model: str = config.Defaults().model
    provider: str = config.Defaults().provider
    prompt_template: str = DEFAULT_TEMPLATE
    temperature: int | float = 0.7
    max_tokens: Annotated[int, msgspec.Meta(ge=1)] = 4000


class Llm(Node[LlmData]):
    """Asks a model."""

    type = "llm"
    ports = PORTS["llm"]
    data_type = LlmData

    def run(self, inputs: Inputs, data: LlmData, providers: Providers) -> dict[str, Any]:
        prompt = render(
            data.prompt_template,
            query=as_text(inputs["query"]),
            context=as_text(inputs.get("context")),
            system_prompt=as_text(inputs.get("system_prompt")),
        )
        response, tokens = providers.generate(
            prompt, data.model, data.provider, data.temperature, data.max_tokens
        )
        return {"response": response, "tokens": tokens, "model": data.model}


class TextJoinData(msgspec.Struct, frozen=True):
    """What joins the texts, and what is used if there are none."""

    separator: str = SEPARATOR
    default: str = ""


class TextJoin(Node[TextJoinData]):
    """Joins its inputs that are not empty, in port order."""

    type = TEXT_JOIN
    ports = PORTS[TEXT_JOIN]
    data_type = TextJoinData

    def run(self, inputs: Inputs, data: TextJoinData, providers: Providers) -> dict[str, Any]:
        texts = [text for value in inputs.values() if (text := as_text(value))]
        return {"text": data.separator.join(texts) if texts else data.default}
