"""What the workflows of the corpus are made of."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any, Final

import msgspec

NodeId = str | int
Node = dict[str, Any]
Line = tuple[NodeId, NodeId]

PROMPT: Final = "참고 자료:\n{context}\n\n질문: {question}\n답변:"


class Case(msgspec.Struct, frozen=True):
    """A workflow that V1 runs, as its column holds it; `kind` says what is special about it."""

    kind: str
    name: str
    workflow: bytes


def case(kind: str, name: str, nodes: Iterable[Node], lines: Sequence[Line]) -> Case:
    """A case whose edges are `lines`, from source to target."""
    edges = [
        {"id": f"edge-{number}", "source": source, "target": target}
        for number, (source, target) in enumerate(lines, start=1)
    ]
    workflow = {"nodes": _placed(nodes), "edges": edges}
    return Case(kind, f"{kind}-{name}", msgspec.json.encode(workflow))


def _placed(nodes: Iterable[Node]) -> list[Node]:
    return [
        {"position": {"x": 240 * column, "y": 120.5}, **node} for column, node in enumerate(nodes)
    ]


def start(node_id: NodeId = "start-1", **data: Any) -> Node:
    """A start node."""
    return {"id": node_id, "type": "start", "data": data}


def end(node_id: NodeId = "end-1", **data: Any) -> Node:
    """An end node."""
    return {"id": node_id, "type": "end", "data": data}


def knowledge(node_id: NodeId = "knowledge-1", **data: Any) -> Node:
    """A search in two documents, unless `data` says otherwise."""
    data = data or {"document_ids": ["환불규정", "faq"], "top_k": 2}
    return {"id": node_id, "type": "knowledge-retrieval", "data": data}


def llm(node_id: NodeId = "llm-1", prompt: str | None = PROMPT, **data: Any) -> Node:
    """A prompt to a model; `prompt` None leaves the template out."""
    template = {} if prompt is None else {"prompt_template": prompt}
    return {"id": node_id, "type": "llm", "data": {"model": "gpt-4o-mini", **template, **data}}


def chain(kind: str, name: str, *nodes: Node) -> Case:
    """A case whose nodes follow each other."""
    ids = [node["id"] for node in nodes]
    return case(kind, name, nodes, list(pairwise(ids)))
