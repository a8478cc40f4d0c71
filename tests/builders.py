"""Workflows, drafts and progress with defaults, so that a test says only what it is about."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from itertools import pairwise
from typing import Any

import msgspec

from tests import platform
from worker.core.policy.progress import Counts, Progress
from worker.core.targets import convert
from worker.core.targets.plans import Writer
from worker.core.targets.registry import DEFAULT
from worker.core.targets.target import Target
from worker.core.workflow import v1
from worker.core.workflow.config import Defaults
from worker.core.workflow.draft import Draft
from worker.core.workflow.json_values import NodeId
from worker.errors import BotError

Json = dict[str, Any]
DEFAULTS = Defaults()

_EXACT_NUMBER = re.compile(r'"@@([-+.0-9eE]+)@@"')


# -- workflows -----------------------------------------------------------------------------------


def a_node(node_id: NodeId, node_type: str, data: Json | None = None, **keys: Any) -> Json:
    """A node of any type; `keys` are beside its id, type, position and data."""
    position = {"x": 100, "y": 150}
    return {"id": node_id, "type": node_type, "position": position, "data": data or {}, **keys}


def a_start(node_id: NodeId = "start", **data: Any) -> Json:
    return a_node(node_id, "start", data)


def a_search(node_id: NodeId = "k", **data: Any) -> Json:
    """A knowledge node that searches the document of its own name."""
    return a_node(node_id, "knowledge-retrieval", {"document_ids": [f"doc-{node_id}"], **data})


def an_llm(node_id: NodeId = "llm", **data: Any) -> Json:
    return a_node(node_id, "llm", {"model": "gpt-4", **data})


def an_end(node_id: NodeId = "end", **data: Any) -> Json:
    return a_node(node_id, "end", data)


def an_edge(source: NodeId, target: NodeId, **keys: Any) -> Json:
    return {"id": f"{source}->{target}", "source": source, "target": target, **keys}


def paths(*routes: str) -> list[Json]:
    """Edges along routes: `paths("start>k>llm", "start>llm")`."""
    return [an_edge(*ends) for route in routes for ends in pairwise(route.split(">"))]


def a_workflow(
    *middle: Json,
    edges: list[Json] | None = None,
    start: Json | None = None,
    end: Json | None = None,
    **keys: Any,
) -> Json:
    """A start, `middle` (one LLM where nothing is said) and an end, in a row where no edges are given."""
    nodes = [start or a_start(), *(middle or (an_llm(),)), end or an_end()]
    if edges is None:
        edges = [an_edge(*ends) for ends in pairwise(node["id"] for node in nodes)]
    return {"nodes": nodes, "edges": edges, **keys}


def exactly(number: str) -> str:
    """A number that `as_text` writes as it stands, digit by digit."""
    return f"@@{number}@@"


def as_text(workflow: object, *, as_ascii: bool = False) -> bytes:
    """A workflow as its column holds it; `as_ascii` where other characters are escaped."""
    return _EXACT_NUMBER.sub(r"\1", json.dumps(workflow, ensure_ascii=as_ascii)).encode()


class Number(str):
    """A number of a JSON text, digit by digit."""

    __slots__ = ()


def read_exactly(text: bytes) -> Any:
    """JSON with its numbers to the last digit, never equal to a string."""
    return json.loads(text, parse_int=_number, parse_float=_number)


def _number(digits: str) -> tuple[str, Number]:
    return ("number", Number(digits))


# -- what becomes of them ------------------------------------------------------------------------


def as_bytes(workflow: object) -> bytes:
    return workflow if isinstance(workflow, bytes) else as_text(workflow)


def a_draft(workflow: object, defaults: Defaults = DEFAULTS) -> Draft:
    """The draft of a workflow (or of a column's text): the checklist and the interface accept it."""
    draft = convert.convert_text(as_bytes(workflow), defaults)
    assert DEFAULT.check(draft.graph) == []
    platform.read_draft(draft.graph)
    return draft


def a_graph(workflow: object, defaults: Defaults = DEFAULTS) -> Json:
    """The graph of its draft."""
    graph: Json = json.loads(a_draft(workflow, defaults).graph)
    return graph


def warnings(workflow: object) -> list[tuple[str, str | None]]:
    """The code and the node of every warning."""
    return [(warning.code, warning.node) for warning in a_draft(workflow).warnings]


def without_plans(target: Target) -> Target:
    """The target with no plan kept."""
    return msgspec.structs.replace(target, writer=Writer(target.writer.manner))


def refusal(workflow: object) -> BotError:
    """Why a workflow (or a column's text) does not convert."""
    try:
        convert.convert_text(as_bytes(workflow), DEFAULTS)
    except BotError as error:
        return error
    raise AssertionError("it converted")


def order(workflow: object) -> tuple[NodeId, ...]:
    """V1's execution order."""
    return v1.decode(as_bytes(workflow), DEFAULTS).order


def node(graph: Json, node_id: str) -> Json:
    (found,) = [one for one in graph["nodes"] if one["id"] == node_id]
    return found  # type: ignore[no-any-return]


def mapped(graph: Json, node_id: str) -> dict[str, str]:
    """Where every mapped input of a node takes its value from."""
    mappings = node(graph, node_id)["variable_mappings"]
    return {port: mapping["variable"] for port, mapping in mappings.items()}


def inputs(graph: Json, node_id: str) -> list[str]:
    return [port["name"] for port in node(graph, node_id)["ports"]["inputs"]]


def lines(graph: Json) -> list[str]:
    """Every edge in one line: `source.port -> target.port`."""
    return [
        f"{edge['source']}.{edge['source_port']} -> {edge['target']}.{edge['target_port']}"
        for edge in graph["edges"]
    ]


def codes(issues: Iterable[Any]) -> list[str]:
    return [issue.code for issue in issues]


# -- progress ------------------------------------------------------------------------------------


def some_progress(**changes: Any) -> Progress:
    """A run that is half way."""
    values: Json = {
        "run_id": 12,
        "request_id": "req-1",
        "state": "running",
        "dry_run": False,
        "counts": Counts(
            converted=1_200, unchanged=30, skipped=20, failed=5, validated=1_190, warnings=40
        ),
        "bots_total": 2_510,
        "batches_done": 12,
        "batches_failed": 1,
        "batches_total": 26,
        "rate": 41.5,
        "eta_s": 30.24,
        "elapsed_s": 30.2,
        "version": 1_013,
    }
    return Progress(**{**values, **changes})
