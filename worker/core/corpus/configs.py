"""Workflows by how their nodes are configured: spellings, defaults and bounds that V1 reads."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from worker.core.corpus.building import Case, Node, chain, end, knowledge, llm, start

MODELS: Final[Mapping[str, dict[str, Any]]] = {
    "object": {"model": {"provider": "Anthropic", "name": "claude-3-haiku"}},
    "object-id": {"model": {"id": "gemini-1.5-pro"}},
    "number": {"model": 4},
    "slash": {"model": "openai/gpt-4o"},
    "blanks": {"model": " gpt-4 "},
    "provider": {"model": "solar-pro", "provider": "UPSTAGE"},
    "texts": {"temperature": "0.3", "max_tokens": "100"},
    "bounds": {"temperature": 1, "max_tokens": 8192},
    "zero": {"temperature": 0, "max_tokens": 1},
}
SEARCHES: Final[Mapping[str, dict[str, Any]]] = {
    "camel": {"documentIds": ["a", "b"], "topK": 1},
    "dataset": {"dataset": "규정집", "top_k": 3},
    "none": {"mode": "hybrid search"},
    "null": {"document_ids": None, "documentIds": ["a"], "dataset_id": "ds"},
    "same-twice": {"document_ids": ["a", "a"], "top_k": 20},
    "text": {"document_ids": ["1", "02"], "top_k": "2"},
}


def configs() -> Iterator[Case]:
    """Every spelling of a model and of a search, and the prompt's other name."""
    for name, data in MODELS.items():
        yield chain("config", f"llm-{name}", start(), knowledge(), llm(**data), end())
    for name, data in SEARCHES.items():
        yield chain("config", f"knowledge-{name}", start(), knowledge(**data), llm(), end())
    other = llm(prompt=None)
    other["data"]["prompt"] = "{context} / {question}"
    yield chain("config", "llm-prompt", start(), knowledge(), other, end())
    yield chain("config", "custom", *map(_custom, (start(), knowledge(), llm(), end())))


def _custom(node: Node) -> Node:
    """The node with its type in its data, as editors save it."""
    return {**node, "type": "custom", "data": {**node["data"], "type": node["type"]}}
