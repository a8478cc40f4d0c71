"""Two small engines, written from design sections 2 and 3 alone, that say whether a draft is faithful.

They know nothing of the converter: V1 runs the workflow as the platform does, V2 runs the draft only
from its ports, mappings and edges. Both record their calls to the echo providers (section 4).
"""

from __future__ import annotations

import json
from collections import Counter, deque
from typing import Any

from tests import platform

NO_LLM_ANSWER = "워크플로우가 완료되었지만 응답을 생성할 수 없습니다."

Call = dict[str, Any]


class Echo:
    """The echo providers, and what was asked of them, in order."""

    def __init__(self) -> None:
        self.calls: list[Call] = []

    def retrieve(self, query: str, top_k: int, document_ids: list[str]) -> list[str]:
        self.calls.append(
            {"kind": "retrieve", "query": query, "top_k": top_k, "document_ids": document_ids}
        )
        return [f"[{one}#{i}] {query}" for one in document_ids for i in range(min(top_k, 2))]

    def generate(self, prompt: str, **arguments: Any) -> str:
        self.calls.append({"kind": "llm", "prompt": prompt, **arguments})
        return f"{arguments['model']}: {prompt}"


def render(template: str, question: str, context: str) -> str:
    """Replace `{question}` and `{context}` in one pass: what is filled in is not looked at again."""
    out, rest = [], template
    while rest:
        found = [(rest.find(name), name) for name in ("{question}", "{context}") if name in rest]
        if not found:
            break
        at, name = min(found)
        out += [rest[:at], question if name == "{question}" else context]
        rest = rest[at + len(name) :]
    return "".join(out) + rest


def run_order(ids: list[Any], edges: list[tuple[Any, Any]]) -> list[Any]:
    """Kahn's algorithm, first in first out, ties in the order of `ids`."""
    waits = Counter(target for _, target in edges)
    queue = deque(i for i in ids if not waits[i])
    order = []
    while queue:
        one = queue.popleft()
        order.append(one)
        for source, target in edges:
            if source == one:
                waits[target] -= 1
                if not waits[target]:
                    queue.append(target)
    assert len(order) == len(ids), "a cycle"
    return order


def run_v1(workflow: dict[str, Any], message: str) -> tuple[str, list[Call]]:
    """The answer and the calls of V1 (design section 2)."""
    echo = Echo()
    nodes = {node["id"]: node for node in workflow["nodes"]}
    edges = [(edge["source"], edge["target"]) for edge in workflow["edges"]]
    found: dict[Any, list[str]] = {}
    responses: list[str] = []
    for one in run_order(list(nodes), edges):
        data = nodes[one].get("data", {})
        kind = nodes[one]["type"] if nodes[one]["type"] != "custom" else data["type"]
        if kind in ("knowledge", "knowledge-retrieval"):
            search = platform.read_knowledge(json.dumps(data))
            documents = search.document_ids or [search.dataset_id or ""]
            found[one] = echo.retrieve(message, search.top_k, documents)
        elif kind == "llm":
            llm = platform.read_llm(json.dumps(data))
            chosen = llm.use_context_from or list(found)
            context = "\n\n".join(text for k in chosen for text in found.get(k, []))
            responses.append(_v1_generate(echo, llm, message, context))
    return (responses[0] if responses else "") or NO_LLM_ANSWER, echo.calls


def _v1_generate(echo: Echo, llm: platform.LLMNodeConfig, message: str, context: str) -> str:
    template = llm.prompt_template
    if template == "":
        template = "Context: {context}\n\n" if context else ""
        template += "Question: {question}\n\nAnswer:"
    return echo.generate(
        render(template, message, context),
        model=llm.model,
        provider=llm.provider,
        temperature=llm.temperature,
        max_tokens=llm.max_tokens,
    )


def run_v2(graph: dict[str, Any], message: str) -> tuple[str, list[Call]]:
    """The answer and the calls of the draft (design section 3)."""
    echo = Echo()
    nodes = {node["id"]: node for node in graph["nodes"]}
    edges = [(edge["source"], edge["target"]) for edge in graph["edges"]]
    pool: dict[str, Any] = {}
    answer = None
    for one in run_order(list(nodes), edges):
        node = nodes[one]
        data = node["data"]
        inputs = {
            port: pool[mapping["variable"]] for port, mapping in node["variable_mappings"].items()
        }
        names = [port["name"] for port in node["ports"]["inputs"]]
        assert set(inputs) <= set(names)
        if node["type"] == "start":
            pool |= {f"{one}.query": message, f"{one}.session_id": "s"}
        elif node["type"] == "knowledge-retrieval":
            texts = echo.retrieve(inputs["query"], data["top_k"], data.get("document_ids") or ["*"])
            pool |= {f"{one}.context": "\n\n".join(texts), f"{one}.documents": texts}
        elif node["type"] == "text-join":
            texts = [inputs[name] for name in names if inputs.get(name)]
            pool[f"{one}.text"] = data["separator"].join(texts) if texts else data["default"]
        elif node["type"] == "llm":
            prompt = render(data["prompt_template"], inputs["query"], inputs.get("context", ""))
            keys = ("model", "provider", "temperature", "max_tokens")
            pool[f"{one}.response"] = echo.generate(prompt, **{key: data[key] for key in keys})
        else:
            assert node["type"] == "end"
            answer = inputs["response"]
    assert answer is not None
    return answer, echo.calls


def same_calls(one: list[Call], other: list[Call]) -> bool:
    """Whether two lists hold the same calls as often, in whatever order."""
    return _counted(one) == _counted(other)


def _counted(calls: list[Call]) -> Counter[tuple[tuple[str, str], ...]]:
    return Counter(
        tuple(sorted((key, repr(float(v) if isinstance(v, int) else v)) for key, v in call.items()))
        for call in calls
    )
