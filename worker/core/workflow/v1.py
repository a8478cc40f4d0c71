"""V1: decode a workflow from its column's text, or say everything that is wrong with it (design 2).

Only what V1 itself reads is decoded; the rest of a workflow stays the JSON text that it was, so that
unknown keys and numbers survive to the last digit.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Final

import msgspec
from msgspec import Raw

from worker.core.codes import Issue, quote
from worker.core.first_issue import first_issue
from worker.core.workflow import config
from worker.core.workflow.config import CustomConfig, Defaults, KnowledgeConfig, LlmConfig
from worker.core.workflow.json_values import (
    JsonObject,
    NodeId,
    _object,
    id_text,
    is_null,
    node_id_of,
    object_of,
    quote_id,
    text_of,
)
from worker.core.workflow.order import run_order
from worker.core.workflow.text import issues_of_text, platform_value, replace_unstorable
from worker.errors import BotError

MAX_NODES: Final = 2_000
MAX_EDGES: Final = 10_000
_TYPES: Final[Mapping[str, str]] = {
    "start": "start",
    "knowledge-retrieval": "knowledge-retrieval",
    "knowledge": "knowledge-retrieval",
    "llm": "llm",
    "end": "end",
}
_CONFIGURED: Final = ("knowledge-retrieval", "llm")
_EDITOR_TYPE: Final = "custom"
_array = msgspec.json.Decoder(list[Raw])
_objects = msgspec.json.Decoder(list[JsonObject])


class Node(msgspec.Struct, frozen=True):
    """A node as V1 reads it: `config` normalised, `keys` and `data` as they are in the column.

    `type` is `start`, `knowledge-retrieval`, `llm` or `end`, or a custom type, whose
    `config` is a `CustomConfig`.
    """

    id: NodeId
    type: str
    keys: JsonObject
    data: JsonObject
    config: LlmConfig | KnowledgeConfig | CustomConfig | None


class Edge(msgspec.Struct, frozen=True):
    """An edge between two existing, different nodes."""

    source: NodeId
    target: NodeId
    keys: JsonObject


class Workflow(msgspec.Struct, frozen=True):
    """A workflow that V1 runs.

    `keys` are the top-level keys, `order` the node ids in V1's execution order.
    """

    keys: JsonObject
    nodes: tuple[Node, ...]
    edges: tuple[Edge, ...]
    order: tuple[NodeId, ...]


def is_json_null(text: bytes) -> bool:
    """Whether a column holds JSON's null, which is no workflow at all (SQLAlchemy writes it for None)."""
    return text.strip(b" \t\r\n") == b"null"


def decode(text: bytes, defaults: Defaults) -> Workflow:
    """The workflow in `text` (UTF-8 JSON), read by `defaults` where V1's spellings leave it open.

    Limits are checked before anything recurses: 4 MiB, 100 levels, 2,000 nodes, 10,000 edges.

    Raises:
        BotError: V1 refuses this workflow, or it cannot be stored. Its code is the first that
            applies in the order of design section 5; the message names the others.
    """
    issues = issues_of_text(text)
    workflow = None
    if not any(issue.code == "too_large" for issue in issues):
        workflow = _inspect(replace_unstorable(text) if issues else text, defaults, issues)
    if issues or workflow is None:
        first, also = first_issue(issues)
        named = f" (also: {', '.join(also)})" if also else ""
        raise BotError(first.code, first.message + named, also)
    return workflow


def _inspect(text: bytes, defaults: Defaults, issues: list[Issue]) -> Workflow | None:
    """Add what is wrong to `issues`; the workflow, where one can be built in spite of it."""
    try:
        keys, raw_nodes, raw_edges = _parts(text)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        issues.append(Issue("not_a_workflow", "", _why_not(error)))
        return None
    if too_many := _too_many(raw_nodes, raw_edges):
        issues.append(too_many)
        return None
    if not raw_nodes:
        issues.append(Issue("no_nodes", "", "the workflow has no nodes"))
        return None
    ids: dict[NodeId, NodeId] = {}  # of all: an edge to a node of an unknown type leads somewhere
    nodes = [node for node in _nodes(raw_nodes, ids, defaults, issues) if node is not None]
    edges = list(_edges(raw_edges, ids, issues))
    _count(nodes, issues)
    order = run_order(ids, [(edge.source, edge.target) for edge in edges])
    if len(order) < len(ids):
        ran = set(order)
        stuck = [node_id for node_id in ids if node_id not in ran]
        message = f"{len(stuck)} nodes are on it or behind it, {quote_id(stuck[0], 40)} for one"
        issues.append(Issue("cycle", "edges", f"the edges form a cycle: {message}"))
    issues.extend(_disconnected(nodes, edges))
    return Workflow(keys, tuple(nodes), tuple(edges), order)


def _parts(text: bytes) -> tuple[JsonObject, list[JsonObject], list[JsonObject]]:
    """The top-level keys, the nodes and the edges; a missing or null list is empty.

    Raises:
        msgspec.DecodeError: not JSON, or not of a workflow's shape.
    """
    text.decode()  # msgspec leaves what it passes through unchecked
    keys = _object.decode(text)
    nodes, edges = keys.get("nodes"), keys.get("edges")
    return (
        keys,
        [] if nodes is None or is_null(nodes) else _objects.decode(nodes),
        [] if edges is None or is_null(edges) else _objects.decode(edges),
    )


def _why_not(error: Exception) -> str:
    if isinstance(error, msgspec.ValidationError):
        return f"not of a workflow's shape: {error}"
    return f"not JSON: {error}"


def _too_many(nodes: list[JsonObject], edges: list[JsonObject]) -> Issue | None:
    for name, things, limit in (("nodes", nodes, MAX_NODES), ("edges", edges, MAX_EDGES)):
        if len(things) > limit:
            return Issue("too_large", name, f"{len(things):,} {name}; at most {limit:,}")
    return None


def _nodes(
    raw_nodes: list[JsonObject], ids: dict[NodeId, NodeId], defaults: Defaults, issues: list[Issue]
) -> Iterator[Node | None]:
    """The nodes, None for one that cannot be built; `ids` is filled with the ids of all."""
    for index, keys in enumerate(raw_nodes):
        path = f"nodes[{index}]"
        node_id = node_id_of(keys.get("id"))
        if node_id is None:
            message = f"{path} has no id (a text, not empty, or a number)"
            issues.append(Issue("node_without_id", path, message))
        elif node_id in ids:
            message = f"two nodes have the id {quote_id(node_id)}"
            issues.append(Issue("duplicate_node_id", path, message))
        else:
            ids[node_id] = node_id
        yield _node(keys, node_id, path, defaults, issues)


def _node(
    keys: JsonObject, node_id: NodeId | None, path: str, defaults: Defaults, issues: list[Issue]
) -> Node | None:
    data = _data(keys.get("data"))
    if data is None:
        message = f"the data of node {_name(node_id, path)} is no object"
        issues.append(Issue("not_a_workflow", path, message))
        data = {}
    node_type = _type(keys, data, node_id, path, defaults.types, issues)
    if node_type is None:
        return None
    node_config: LlmConfig | KnowledgeConfig | CustomConfig | None = None

    def refuse(why: str) -> None:
        message = f"node {_name(node_id, path)}: {why}"
        issues.append(Issue("invalid_config", path, message))

    if not data and node_type in _CONFIGURED and "data" in keys and is_null(keys["data"]):
        refuse("its data is null")
    if node_type == "llm":
        node_config = config.llm(data, defaults, refuse)
    elif node_type == "knowledge-retrieval":
        node_config = config.knowledge(data, refuse)
    elif own := defaults.types.get(node_type):
        node_config = config.custom(data, own, refuse)
    return None if node_id is None else Node(node_id, node_type, keys, data, node_config)


def _name(node_id: NodeId | None, path: str) -> str:
    return path if node_id is None else quote_id(node_id)


def _data(raw: Raw | None) -> JsonObject | None:
    """The data of a node: missing and null are empty, anything but an object is None."""
    data = object_of(raw)
    return {} if data is None and (raw is None or is_null(raw)) else data


def _type(
    keys: JsonObject,
    data: JsonObject,
    node_id: NodeId | None,
    path: str,
    own_types: Collection[str],
    issues: list[Issue],
) -> str | None:
    raw = keys.get("type")
    drawn = text_of(raw)
    if drawn == _EDITOR_TYPE:
        raw = data.get("type")
        drawn = text_of(raw)
    if drawn and (found := _TYPES.get(drawn) or (drawn if drawn in own_types else None)):
        return found
    name = _name(node_id, path)
    if raw is None or not platform_value(raw):
        issues.append(Issue("node_without_type", path, f"node {name} has no type"))
    else:
        shown = quote(bytes(raw).decode())
        issues.append(Issue("unknown_node_type", path, f"node {name} has the unknown type {shown}"))
    return None


def _edges(
    raw_edges: list[JsonObject], ids: Mapping[NodeId, NodeId], issues: list[Issue]
) -> Iterator[Edge]:
    """The edges between nodes, their ends written as the nodes' own ids are (1 where it says 1.0)."""
    for index, keys in enumerate(raw_edges):
        path = f"edges[{index}]"
        source, target = node_id_of(keys.get("source")), node_id_of(keys.get("target"))
        for end, node_id in (("source", source), ("target", target)):
            if node_id not in ids:
                what = "is missing" if node_id is None else f"does not exist: {quote_id(node_id)}"
                issues.append(Issue("edge_endpoint_missing", path, f"{path}: its {end} {what}"))
        if source is None or target is None or source not in ids or target not in ids:
            continue
        if source == target:
            issues.append(
                Issue("self_loop", path, f"{path} leads from {quote_id(source)} to itself")
            )
        else:
            yield Edge(ids[source], ids[target], keys)


def _count(nodes: list[Node], issues: list[Issue]) -> None:
    for node_type in ("start", "end"):
        found = sum(node.type == node_type for node in nodes)
        if found != 1:
            code = f"{node_type}_count"
            issues.append(Issue(code, "nodes", f"{found} {node_type} nodes; exactly one is needed"))


def _disconnected(nodes: list[Node], edges: list[Edge]) -> Iterator[Issue]:
    left = {edge.source for edge in edges}
    entered = {edge.target for edge in edges}
    for node in nodes:
        if node.type != "end" and node.id not in left:
            message = f"no edge leads out of node {quote_id(node.id)}"
            yield Issue("disconnected", id_text(node.id), message)
        if node.type != "start" and node.id not in entered:
            message = f"no edge leads into node {quote_id(node.id)}"
            yield Issue("disconnected", id_text(node.id), message)
