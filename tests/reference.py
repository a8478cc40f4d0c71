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
    """V1's two replacements, the second in what the first gave."""
    return context.join(question.join(template.split("{question}")).split("{context}"))


def render_guide(template: str, query: str, context: str, system_prompt: str) -> str:
    """The four replacements of the target guide's engine, then its squeezing and stripping."""
    prompt = template
    for name, value in (
        ("{query}", query),
        ("{question}", query),
        ("{context}", context),
        ("{system_prompt}", system_prompt),
    ):
        prompt = value.join(prompt.split(name))
    return trim(prompt)


def trim(prompt: str) -> str:
    """What the target guide's engine does to every prompt at last."""
    while "\n\n\n" in prompt:
        prompt = prompt.replace("\n\n\n", "\n\n")
    return prompt.strip()


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
    prompt = render(llm.prompt_template, message, context)
    if llm.prompt_template == "":
        prompt = f"Context: {context}\n\n" if context else ""
        prompt += f"Question: {message}\n\nAnswer:"
    return echo.generate(
        prompt,
        model=llm.model,
        provider=llm.provider,
        temperature=llm.temperature,
        max_tokens=llm.max_tokens,
    )


def run_v2(graph: dict[str, Any], message: str) -> tuple[str, list[Call]]:
    """The answer and the calls of a draft for the target guide (design section 3)."""
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
            prompt = render_guide(
                data["prompt_template"],
                inputs["query"],
                inputs.get("context", ""),
                inputs.get("system_prompt", ""),
            )
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


def in_guide(answer: str, calls: list[Call], message: str) -> tuple[str, list[Call]]:
    """What V1 did on echo, as the best possible draft for the target guide does it.

    Its engine trims every prompt, and removes `{system_prompt}` that a message brings; so it cannot be
    said of a template that holds the same.
    """
    shown = []
    for call in calls:
        prompt = call.get("prompt")
        if prompt is not None and "{system_prompt}" in message:
            prompt = prompt.replace("{system_prompt}", "")
        shown.append(call if prompt is None else {**call, "prompt": trim(prompt)})
    first = next((call for call in shown if call["kind"] == "llm"), None)
    return (answer if first is None else f"{first['model']}: {first['prompt']}"), shown


def is_mixed(workflow: dict[str, Any], message: str) -> bool:
    """Whether both the message and a template hold `{system_prompt}`, or V1 uses its own prompt."""
    templates = [(node.get("data") or {}).get("prompt_template") for node in workflow["nodes"]]
    return "{system_prompt}" in message and any(
        one == "" or "{system_prompt}" in (one or "") for one in templates
    )
