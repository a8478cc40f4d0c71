"""The platform's engine: runs a graph on a message."""

from __future__ import annotations

import re
from graphlib import TopologicalSorter
from typing import Any


def run(graph: dict[str, Any], message: str, providers: Any) -> str:
    """The answer to a message.

    `providers` has `retrieve(query, top_k, document_ids)` and
    `generate(prompt, model, provider, temperature, max_tokens)`.
    """
    nodes = {node["id"]: node for node in graph["nodes"]}
    before: dict[str, list[str]] = {node_id: [] for node_id in nodes}
    for edge in graph["edges"]:
        before[edge["target"]].append(edge["source"])
    outputs: dict[str, dict[str, Any]] = {}
    answer = ""
    for node_id in TopologicalSorter(before).static_order():
        node = nodes[node_id]
        inputs = {port: _value(one, outputs) for port, one in node["variable_mappings"].items()}
        if node["type"] == "end":
            answer = inputs["response"]
        else:
            outputs[node_id] = _RUN[node["type"]](node["data"], inputs, message, providers)
    return answer


def _value(mapping: dict[str, Any], outputs: dict[str, dict[str, Any]]) -> Any:
    node_id, _, port = mapping["variable"].partition(".")
    return outputs[node_id][port]


def _start(_: Any, __: Any, message: str, ___: Any) -> dict[str, Any]:
    return {"query": message, "session_id": ""}


def _search(data: Any, inputs: Any, _: str, providers: Any) -> dict[str, Any]:
    ids = data.get("document_ids") or ["*"]
    found = providers.retrieve(inputs["query"], data.get("top_k", 5), ids)
    context = "\n\n".join(document["content"] for document in found)
    return {"context": context, "documents": found, "doc_count": len(found)}


def _ask(data: Any, inputs: Any, _: str, providers: Any) -> dict[str, Any]:
    prompt = data["prompt_template"]
    for name, port in (
        ("query", "query"),
        ("question", "query"),
        ("context", "context"),
        ("system_prompt", "system_prompt"),
    ):
        prompt = prompt.replace("{" + name + "}", inputs.get(port, ""))
    prompt = re.sub(r"\n{3,}", "\n\n", prompt).strip()
    model = data["model"]
    response, tokens = providers.generate(
        prompt, model, data["provider"], data["temperature"], data["max_tokens"]
    )
    return {"response": response, "tokens": tokens, "model": model}


def _join(data: Any, inputs: Any, _: str, __: Any) -> dict[str, Any]:
    texts = [inputs[port] for port in sorted(inputs, key=_number) if inputs[port]]
    joined = data.get("separator", "\n\n").join(texts)
    return {"text": joined if texts else data.get("default", "")}


def _number(port: str) -> int:
    return int(port.removeprefix("text_")) if port.startswith("text_") else 0


_RUN = {"start": _start, "knowledge-retrieval": _search, "llm": _ask, "text-join": _join}
