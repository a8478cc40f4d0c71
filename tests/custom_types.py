"""Node types of an installation's own, as V1 has them too: each takes and gives something else."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Annotated, Any

import msgspec

from tests.graphs import BUILT_IN
from worker.core.engine.registry import custom_types, register
from worker.core.workflow.config import Defaults
from worker.core.workflow.v2 import Port, Ports
from worker.nodes import CustomNode, Providers

TEXT_OUT = Port("text", required=True)


class GlossaryData(msgspec.Struct, frozen=True):
    """Which terms it explains."""

    terms: dict[str, str] = {}
    limit: Annotated[int, msgspec.Meta(ge=1, le=9)] = 3


class Glossary(CustomNode[GlossaryData]):
    """Explains the terms that the message holds, as if a search had found it; calls nobody."""

    type = "glossary"
    ports = Ports(inputs=(Port("question", required=True),), outputs=(TEXT_OUT,))
    takes_message = "question"
    gives_context = "text"
    data_type = GlossaryData

    def run(
        self, inputs: Mapping[str, Any], data: GlossaryData, providers: Providers
    ) -> dict[str, Any]:
        found = [text for term, text in data.terms.items() if term in inputs["question"]]
        return {"text": "\n".join(found[: data.limit])}


class Telling(CustomNode[dict[str, Any]]):
    """Tells a model exactly what it got, so that two engines agree only where they gave the same."""

    def ask(self, inputs: Mapping[str, Any], providers: Providers) -> str:
        # In order: a node may well do something with one input after the other.
        told = json.dumps([self.type, *inputs.items()], ensure_ascii=False)
        return providers.generate(told, self.type, "own", 0.5, 10)[0]


class Rerank(Telling):
    """Searches again, with what was found before; what it finds joins it."""

    type = "rerank"
    ports = Ports(
        inputs=(Port("found"), Port("question", required=True)),
        outputs=(Port("count", "number"), Port("best", required=True)),
    )
    takes_context = "found"
    takes_message = "question"
    gives_context = "best"

    def run(
        self, inputs: Mapping[str, Any], data: dict[str, Any], providers: Providers
    ) -> dict[str, Any]:
        documents = providers.retrieve(self.ask(inputs, providers), 1, ["rerank"])
        return {"best": documents[0]["content"], "count": len(documents)}


class Judge(Telling):
    """Looks at the response, and has nothing to say about it; its first output is no text."""

    type = "judge"
    ports = Ports(
        inputs=(Port("said"), Port("asked"), Port("after"), Port("level", "number", default=2)),
        outputs=(Port("score", "number"),),
    )
    takes_response = "said"
    takes_message = "asked"

    def run(
        self, inputs: Mapping[str, Any], data: dict[str, Any], providers: Providers
    ) -> dict[str, Any]:
        return {"score": len(self.ask(inputs, providers))}


class Agent(Telling):
    """Answers as an LLM does."""

    type = "agent"
    ports = Ports(
        inputs=(
            Port("query", required=True),
            Port("context"),
            Port("draft", "any", default="none"),
        ),
        outputs=(Port("reply", required=True), Port("notes", required=True)),
    )
    takes_message = "query"
    takes_context = "context"
    takes_response = "draft"
    gives_response = "reply"

    def run(
        self, inputs: Mapping[str, Any], data: dict[str, Any], providers: Providers
    ) -> dict[str, Any]:
        return {"reply": self.ask(inputs, providers), "notes": ""}


class Oracle(Agent):
    """Answers, and what it notes joins what was found; empty where it was told to keep quiet."""

    type = "oracle"
    gives_response = "reply"
    gives_context = "notes"

    def run(
        self, inputs: Mapping[str, Any], data: dict[str, Any], providers: Providers
    ) -> dict[str, Any]:
        reply = self.ask(inputs, providers)
        return {"reply": reply, "notes": "" if data.get("quiet") else f"{len(reply)} {{context}}"}


class Stopwatch(Telling):
    """Takes nothing and gives nothing."""

    type = "stopwatch"
    ports = Ports(outputs=(Port("time", "object"),))

    def run(
        self, inputs: Mapping[str, Any], data: dict[str, Any], providers: Providers
    ) -> dict[str, Any]:
        self.ask(inputs, providers)
        return {"time": {"s": 1}}


REGISTRY = register(BUILT_IN, Glossary(), Rerank(), Judge(), Agent(), Oracle(), Stopwatch())
TYPES = custom_types(REGISTRY)
WITH_TYPES = Defaults(types=TYPES)
