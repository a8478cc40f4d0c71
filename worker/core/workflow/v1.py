"""V1: decode a workflow from its column's text, or say everything that is wrong with it (design 2).

Only what V1 itself reads is decoded; the rest of a workflow stays the JSON text that it was, so that
unknown keys and numbers survive to the last digit.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, Final, TypedDict

import msgspec
from msgspec import Raw

from worker.core.codes import Issue, first_issue, quote
from worker.core.workflow import config
from worker.core.workflow.config import Defaults
from worker.core.workflow.json_values import (
    JsonObject,
    NodeId,
    _object,
    as_node_id,
    id_text,
    is_null,
    object_of,
    quote_id,
)
from worker.core.workflow.kept import Kept
from worker.core.workflow.order import run_order
from worker.core.workflow.structure import Config, Structure, structure_of
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
MAX_KEPT: Final = 1_024
"""So many data of nodes, and orders of structures, are kept in a process."""

MAX_KEPT_BYTES: Final = 1_024
"""Data with more JSON than that is not kept, nor is one with more than `MAX_KEPT_KEYS` keys."""

MAX_KEPT_KEYS: Final = 32
MAX_KEPT_SIZE: Final = 128
"""The order of a structure larger than that is not kept."""


class _NodeValues(TypedDict, total=False):
    id: Any
    type: Any


class _EdgeValues(TypedDict, total=False):
    id: Any
    source: Any
    target: Any


_objects = msgspec.json.Decoder(list[JsonObject])
_node_values = msgspec.json.Decoder(list[_NodeValues])
_edge_values = msgspec.json.Decoder(list[_EdgeValues])


class Content(msgspec.Struct, frozen=True):
    """What a node holds: its `data` as it is in the column, and its `config` normalised.

    Nodes whose data is the same to the byte share one, in one workflow or in many: nothing may change it.
    """

    data: JsonObject
    config: Config


class Node(msgspec.Struct, frozen=True):
    """A node as V1 reads it; `keys` are as they are in the column.

    `type` is `start`, `knowledge-retrieval`, `llm` or `end`, or a custom type, whose
    `config` is a `CustomConfig`.
    """

    id: NodeId
    type: str
    keys: JsonObject
    content: Content

    @property
    def data(self) -> JsonObject:
        """Its data as it is in the column."""
        return self.content.data

    @property
    def config(self) -> Config:
        """Its configuration, normalised."""
        return self.content.config


class Edge(msgspec.Struct, frozen=True):
    """An edge between two existing, different nodes, at the places `ends`; `id` is whatever it says."""

    source: NodeId
    target: NodeId
    ends: tuple[int, int]
    id: Any
    keys: JsonObject


class Workflow(msgspec.Struct, frozen=True):
    """A workflow that V1 runs.

    `keys` are the top-level keys, `order` the node ids in V1's execution order.
    """

    keys: JsonObject
    nodes: tuple[Node, ...]
    edges: tuple[Edge, ...]
    order: tuple[NodeId, ...]
    structure: Structure


_contents: Final = Kept[tuple[str, bytes, str, str], Content](MAX_KEPT)
_orders: Final = Kept[Structure, tuple[int, ...]](MAX_KEPT)


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
    """Add what is wrong to `issues`; the workflow, where nothing is."""
    try:
        text.decode()  # msgspec leaves what it passes through unchecked
        keys = _object.decode(text)
        raw_nodes = _listed(keys.get("nodes"), _node_values)
        raw_edges = _listed(keys.get("edges"), _edge_values)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        issues.append(Issue("not_a_workflow", "", _why_not(error)))
        return None
    if too_many := _too_many(raw_nodes, raw_edges):
        issues.append(too_many)
        return None
    if not raw_nodes:
        issues.append(Issue("no_nodes", "", "the workflow has no nodes"))
        return None
    places: dict[NodeId, int] = {}  # of all: an edge to a node of an unknown type leads somewhere
    nodes = [node for node in _nodes(raw_nodes, places, defaults, issues) if node is not None]
    ids = tuple(places)
    edges = list(_edges(raw_edges, places, ids, issues))
    ends = [edge.ends for edge in edges]
    if issues:
        _look_at_graph(ids, nodes, ends, issues)
        return None
    structure = structure_of([(node.type, node.config) for node in nodes], ends, places)
    if (order := _orders.find(structure)) is None:
        order = _look_at_graph(ids, nodes, ends, issues)
        if not issues and structure.size <= MAX_KEPT_SIZE:
            _orders.keep(structure, order)
    ran = tuple([ids[place] for place in order])
    return Workflow(keys, tuple(nodes), tuple(edges), ran, structure)


_Listed = list[tuple[JsonObject, Mapping[str, Any]]]


def _listed(raw: Raw | None, decoder: msgspec.json.Decoder[Any]) -> _Listed:
    """The nodes or edges, each with those of its values that decide; a missing or null list is empty.

    Raises:
        msgspec.DecodeError: no list of objects.
    """
    if raw is None or is_null(raw):
        return []
    return list(zip(_objects.decode(raw), platform_value(raw, decoder), strict=True))


def _why_not(error: Exception) -> str:
    if isinstance(error, msgspec.ValidationError):
        return f"not of a workflow's shape: {error}"
    return f"not JSON: {error}"


def _too_many(nodes: _Listed, edges: _Listed) -> Issue | None:
    for name, things, limit in (("nodes", nodes, MAX_NODES), ("edges", edges, MAX_EDGES)):
        if len(things) > limit:
            return Issue("too_large", name, f"{len(things):,} {name}; at most {limit:,}")
    return None


def _nodes(
    raw_nodes: _Listed, places: dict[NodeId, int], defaults: Defaults, issues: list[Issue]
) -> Iterator[Node | None]:
    """The nodes, None for one that cannot be built; `places` is filled with the ids of all."""
    for index, (keys, values) in enumerate(raw_nodes):
        node_id = as_node_id(values.get("id"))
        if node_id is None:
            path = f"nodes[{index}]"
            message = f"{path} has no id (a text, not empty, or a number)"
            issues.append(Issue("node_without_id", path, message))
        elif node_id in places:
            message = f"two nodes have the id {quote_id(node_id)}"
            issues.append(Issue("duplicate_node_id", f"nodes[{index}]", message))
        else:
            places[node_id] = len(places)
        yield _Reading(index, node_id, keys, values, issues).node(defaults)


class _Reading:
    """A node being read; `name` is what messages call it."""

    __slots__ = ("id", "index", "issues", "keys", "values")

    def __init__(
        self,
        index: int,
        node_id: NodeId | None,
        keys: JsonObject,
        values: Mapping[str, Any],
        issues: list[Issue],
    ) -> None:
        self.index = index
        self.id = node_id
        self.keys = keys
        self.values = values
        self.issues = issues

    @property
    def name(self) -> str:
        return f"nodes[{self.index}]" if self.id is None else quote_id(self.id)

    def node(self, defaults: Defaults) -> Node | None:
        """The node, None if it has no id or no type that is known."""
        node_type = self._type(defaults.types)
        if node_type is None:
            self._data(self.keys.get("data"))
            return None
        content = self._content(node_type, defaults)
        return None if self.id is None else Node(self.id, node_type, self.keys, content)

    def _add(self, code: str, message: str) -> None:
        self.issues.append(Issue(code, f"nodes[{self.index}]", message))

    def _refuse(self, why: str) -> None:
        self._add("invalid_config", f"node {self.name}: {why}")

    def _type(self, own_types: Collection[str]) -> str | None:
        """V1's type, the data's where the editor's says nothing."""
        keys, drawn = self.keys, self.values.get("type")
        if drawn == _EDITOR_TYPE:
            keys = object_of(keys.get("data")) or {}
            drawn = platform_value(keys["type"]) if "type" in keys else None
        if isinstance(drawn, str) and drawn and (drawn in _TYPES or drawn in own_types):
            return _TYPES.get(drawn, drawn)
        if not drawn:
            self._add("node_without_type", f"node {self.name} has no type")
        else:
            shown = quote(bytes(keys["type"]).decode())
            self._add("unknown_node_type", f"node {self.name} has the unknown type {shown}")
        return None

    def _content(self, node_type: str, defaults: Defaults) -> Content:
        """The node's content, from one like it where that is kept."""
        raw = self.keys.get("data")
        if raw is None or len(raw) > MAX_KEPT_BYTES or node_type in defaults.types:
            return self._read(raw, node_type, defaults)
        key = (node_type, bytes(raw), defaults.model, defaults.provider)
        if (content := _contents.find(key)) is None:
            known = len(self.issues)
            content = self._read(Raw(key[1]), node_type, defaults)  # keeps no more than itself
            if len(self.issues) == known and len(content.data) <= MAX_KEPT_KEYS:
                _contents.keep(key, content)
        return content

    def _read(self, raw: Raw | None, node_type: str, defaults: Defaults) -> Content:
        data = self._data(raw)
        if raw is not None and node_type in _CONFIGURED and is_null(raw):
            self._refuse("its data is null")
        found: Config = None
        if node_type == "llm":
            found = config.llm(data, defaults, self._refuse)
        elif node_type == "knowledge-retrieval":
            found = config.knowledge(data, self._refuse)
        elif own := defaults.types.get(node_type):
            found = config.custom(data, own, self._refuse)
        return Content(data, found)

    def _data(self, raw: Raw | None) -> JsonObject:
        """The data: missing, null, and what is refused for being no object are empty."""
        data = object_of(raw)
        if data is None and raw is not None and not is_null(raw):
            self._add("not_a_workflow", f"the data of node {self.name} is no object")
        return data or {}


def _edges(
    raw_edges: _Listed,
    places: Mapping[NodeId, int],
    ids: Sequence[NodeId],
    issues: list[Issue],
) -> Iterator[Edge]:
    """The edges between nodes, their ends written as the nodes' own ids are (1 where it says 1.0)."""
    for index, (keys, values) in enumerate(raw_edges):
        source, target = as_node_id(values.get("source")), as_node_id(values.get("target"))
        first = None if source is None else places.get(source)
        last = None if target is None else places.get(target)
        if first is None or last is None or first == last:
            issues.extend(_wrong_edge(f"edges[{index}]", source, target, places))
        else:
            yield Edge(ids[first], ids[last], (first, last), values.get("id"), keys)


def _wrong_edge(
    path: str, source: NodeId | None, target: NodeId | None, places: Mapping[NodeId, int]
) -> Iterator[Issue]:
    for end, node_id in (("source", source), ("target", target)):
        if node_id is None:
            yield Issue("edge_endpoint_missing", path, f"{path}: its {end} is missing")
        elif node_id not in places:
            message = f"{path}: its {end} does not exist: {quote_id(node_id)}"
            yield Issue("edge_endpoint_missing", path, message)
    if source is not None and source == target and source in places:
        yield Issue("self_loop", path, f"{path} leads from {quote_id(source)} to itself")


def _look_at_graph(
    ids: Sequence[NodeId], nodes: list[Node], ends: list[tuple[int, int]], issues: list[Issue]
) -> tuple[int, ...]:
    """Add what is wrong with how nodes are connected; the places in the order of execution."""
    _count(nodes, issues)
    order = run_order(range(len(ids)), ends)
    if len(order) < len(ids):
        ran = set(order)
        stuck = [node_id for place, node_id in enumerate(ids) if place not in ran]
        message = f"{len(stuck)} nodes are on it or behind it, {quote_id(stuck[0], 40)} for one"
        issues.append(Issue("cycle", "edges", f"the edges form a cycle: {message}"))
    left, entered = {ids[source] for source, _ in ends}, {ids[target] for _, target in ends}
    issues.extend(_disconnected(nodes, left, entered))
    return order


def _count(nodes: list[Node], issues: list[Issue]) -> None:
    for node_type in ("start", "end"):
        found = sum(node.type == node_type for node in nodes)
        if found != 1:
            code = f"{node_type}_count"
            issues.append(Issue(code, "nodes", f"{found} {node_type} nodes; exactly one is needed"))


def _disconnected(
    nodes: list[Node], left: Collection[NodeId], entered: Collection[NodeId]
) -> Iterator[Issue]:
    for node in nodes:
        if node.type != "end" and node.id not in left:
            message = f"no edge leads out of node {quote_id(node.id)}"
            yield Issue("disconnected", id_text(node.id), message)
        if node.type != "start" and node.id not in entered:
            message = f"no edge leads into node {quote_id(node.id)}"
            yield Issue("disconnected", id_text(node.id), message)
