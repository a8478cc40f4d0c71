"""A workflow's structure: what it has in common with others that differ in ids, texts and numbers alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

from worker.core.workflow.config import CustomConfig, KnowledgeConfig, LlmConfig
from worker.core.workflow.json_values import NodeId
from worker.core.workflow.node_types import CustomNode

Config: TypeAlias = LlmConfig | KnowledgeConfig | CustomConfig | None


class OwnType:
    """A custom type and its name in V1; another instance is another type, whatever it says of itself."""

    __slots__ = ("name", "type")

    def __init__(self, name: str, node_type: CustomNode[Any]) -> None:
        self.name = name
        self.type = node_type

    def __eq__(self, other: object) -> bool:
        return isinstance(other, OwnType) and self.type is other.type and self.name == other.name

    def __hash__(self) -> int:
        return hash(self.name)


class Structure(NamedTuple):
    """All that a plan depends on: `types` of the nodes, `edges` as (source, target), by place in the list.

    `uses`: the places that a node's `use_context_from` names, nodes that do not exist left out; None where
    it names nothing.
    """

    types: tuple[str | OwnType, ...]
    uses: tuple[tuple[int, ...] | None, ...]
    edges: tuple[tuple[int, int], ...]

    @property
    def size(self) -> int:
        """About how much there is of it."""
        return len(self.types) + len(self.edges) + sum(len(one or ()) for one in self.uses)


def structure_of(
    nodes: Sequence[tuple[str, Config]],
    edges: Sequence[tuple[int, int]],
    places: Mapping[NodeId, int],
) -> Structure:
    """The structure of nodes, each its type and its configuration, at the `places` of their ids.

    >>> structure_of([("start", None), ("end", None)], [(0, 1)], {"s": 0, "e": 1}).types
    ('start', 'end')
    """
    types: list[str | OwnType] = []
    uses: list[tuple[int, ...] | None] = []
    for node_type, config in nodes:
        used = None
        if isinstance(config, LlmConfig) and config.use_context_from:
            used = tuple([places[one] for one in config.use_context_from if one in places])
        own = OwnType(node_type, config.type) if isinstance(config, CustomConfig) else None
        types.append(own or node_type)
        uses.append(used)
    return Structure(tuple(types), tuple(uses), tuple(edges))
