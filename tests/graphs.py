"""Builders of small V2 graphs, and providers and clocks that misbehave on purpose."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from worker.core.engine import v2 as engine
from worker.core.engine.conditions import IfElse
from worker.core.engine.execution import NO_VARIABLES, Variables
from worker.core.engine.registry import Registry
from worker.core.targets.guide import GUIDE, ports
from worker.core.workflow import v2
from worker.core.workflow.calls import DEFAULT_LIMITS, Limits, Trace
from worker.providers.echo import Echo

PORTS = {**ports.PORTS, "if-else": IfElse.ports}
BUILT_IN = GUIDE.rules.built_in


def a_node(
    node_id: str,
    node_type: str,
    *,
    data: dict[str, Any] | None = None,
    inputs: Sequence[str] = (),
    outputs: Sequence[str] = (),
    **mappings: str,
) -> dict[str, Any]:
    """A node with its type's ports and more; `mappings` are selectors by input port."""
    ports = PORTS.get(node_type, v2.Ports())
    return {
        "id": node_id,
        "type": node_type,
        "data": data or {},
        "ports": {
            "inputs": [{"name": port.name, "required": port.required} for port in ports.inputs]
            + [{"name": name, "type": "any"} for name in inputs],
            "outputs": [{"name": port.name, "type": port.type} for port in ports.outputs]
            + [{"name": name, "type": "any"} for name in outputs],
        },
        "variable_mappings": {
            port: {"variable": variable, "value_type": "string"}
            for port, variable in mappings.items()
        },
    }


def an_edge(source: str, target: str) -> dict[str, str]:
    """An edge from `node.port` to `node.port`."""
    (source_id, source_port), (target_id, target_port) = (
        v2.split_selector(end) for end in (source, target)
    )
    return {
        "source": source_id,
        "target": target_id,
        "source_port": source_port,
        "target_port": target_port,
        "data_type": "any",
    }


def a_graph(nodes: Sequence[dict[str, Any]], edges: Sequence[tuple[str, str]]) -> bytes:
    """A graph's JSON."""
    drawn = {"nodes": list(nodes), "edges": [an_edge(*edge) for edge in edges]}
    return json.dumps(drawn, ensure_ascii=False).encode()


def a_plain_graph(**llm: Any) -> bytes:
    """start → llm → end."""
    return a_graph(
        [
            a_node("start", "start"),
            a_node(
                "llm", "llm", data={"prompt_template": "{question}", **llm}, query="start.query"
            ),
            a_node("end", "end", response="llm.response"),
        ],
        [("start.query", "llm.query"), ("llm.response", "end.response")],
    )


class Clock:
    """A clock that goes on by `step_s` each time it is read."""

    def __init__(self, step_s: float = 0.0) -> None:
        self.now = 100.0
        self.step_s = step_s

    def __call__(self) -> float:
        self.now += self.step_s
        return self.now


class Failing(Echo):
    """Echo, but the model whose name is `model` is away, or every search is."""

    def __init__(self, *, model: str = "", search: bool = False) -> None:
        self.model = model
        self.search = search

    def retrieve(self, query: str, top_k: int, document_ids: Sequence[str]) -> list[dict[str, str]]:
        if self.search:
            raise TimeoutError("no answer from the index")
        return super().retrieve(query, top_k, document_ids)

    def generate(
        self, prompt: str, model: str, provider: str, temperature: float, max_tokens: int
    ) -> tuple[str, int]:
        if model == self.model:
            raise ConnectionError(f"{model} is away")
        return super().generate(prompt, model, provider, temperature, max_tokens)


class Saying(Echo):
    """Echo, but each model that is named says just this."""

    def __init__(self, responses: Mapping[str, str]) -> None:
        self.responses = responses

    def generate(
        self, prompt: str, model: str, provider: str, temperature: float, max_tokens: int
    ) -> tuple[str, int]:
        said, tokens = super().generate(prompt, model, provider, temperature, max_tokens)
        return self.responses.get(model, said), tokens


class Silent(Echo):
    """Echo, but searches find nothing."""

    def retrieve(self, query: str, top_k: int, document_ids: Sequence[str]) -> list[dict[str, str]]:
        return []


def run(
    graph: bytes,
    message: str = "hello",
    *,
    providers: Echo | None = None,
    clock: Clock | None = None,
    limits: Limits = DEFAULT_LIMITS,
    registry: Registry = BUILT_IN,
    variables: Variables = NO_VARIABLES,
) -> Trace:
    """Execute a graph on echo and a clock that stands still, unless others are given."""
    return engine.execute(
        GUIDE.decode(graph, registry),
        message,
        providers or Echo(),
        clock=clock or Clock(),
        limits=limits,
        variables=variables,
    )


class Stopping(Echo):
    """Cannot be asked, for a reason that is no node's."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def generate(self, *_: Any, **__: Any) -> tuple[str, int]:
        raise self.error
