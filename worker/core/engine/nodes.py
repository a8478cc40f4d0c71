"""The node types that the engines of all targets have alike."""

from __future__ import annotations

from typing import Annotated, Any, Final

import msgspec

from worker.core.workflow.calls import Providers
from worker.core.workflow.node_types import Inputs, Node
from worker.core.workflow.v1_texts import SEPARATOR
from worker.core.workflow.v2 import COMMON_PORTS

EVERY_DOCUMENT: Final = ("*",)


class NoData(msgspec.Struct, frozen=True):
    """For types that read nothing of their node's data."""


class Start(Node[NoData]):
    """Hands on the message, which the engine gives it."""

    type = "start"
    ports = COMMON_PORTS["start"]
    data_type = NoData

    def run(self, inputs: Inputs, data: NoData, providers: Providers) -> dict[str, Any]:
        return dict(inputs)


class KnowledgeData(msgspec.Struct, frozen=True):
    """What a search reads of its data."""

    document_ids: tuple[str, ...] | None = None
    top_k: Annotated[int, msgspec.Meta(ge=1)] = 5


class KnowledgeRetrieval(Node[KnowledgeData]):
    """Searches for its query; everywhere, where the graph names no documents."""

    type = "knowledge-retrieval"
    ports = COMMON_PORTS["knowledge-retrieval"]
    data_type = KnowledgeData

    def run(self, inputs: Inputs, data: KnowledgeData, providers: Providers) -> dict[str, Any]:
        documents = providers.retrieve(
            as_text(inputs["query"]), data.top_k, data.document_ids or EVERY_DOCUMENT
        )
        return {
            "context": SEPARATOR.join([document["content"] for document in documents]),
            "documents": documents,
            "doc_count": len(documents),
        }


class End(Node[NoData]):
    """Makes the response the execution's answer."""

    type = "end"
    ports = COMMON_PORTS["end"]
    data_type = NoData

    def run(self, inputs: Inputs, data: NoData, providers: Providers) -> dict[str, Any]:
        return {"final_output": {"response": as_text(inputs["response"])}}


def as_text(value: object) -> str:
    """A value where a text is wanted: nothing is empty, what is no text is its JSON.

    >>> as_text("a"), as_text(None), as_text(["a", 1])
    ('a', '', '["a",1]')
    """
    if isinstance(value, str):
        return value
    return "" if value is None else msgspec.json.encode(value).decode()
