"""The structure of a workflow: all that its plan depends on, nodes named by their place in the list.

Two workflows of one structure differ in ids, texts, numbers and positions alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from worker.core.workflow.config import CustomConfig, LlmConfig
from worker.core.workflow.json_values import NodeId
from worker.core.workflow.node_types import CustomNode
from worker.core.workflow.v1 import Workflow


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
    """`types` of the nodes; `edges` as (source, target).

    `uses`: the places that a node's `use_context_from` names, nodes that do not exist left out; None
    where it names nothing.
    """

    types: tuple[str | OwnType, ...]
    uses: tuple[tuple[int, ...] | None, ...]
    edges: tuple[tuple[int, int], ...]

    @property
    def size(self) -> int:
        """About how much there is of it."""
        return len(self.types) + len(self.edges) + sum(len(one or ()) for one in self.uses)


def structure_of(workflow: Workflow) -> Structure:
    """The structure of a workflow that V1 runs.

    >>> from worker.core.workflow.v1 import Node
    >>> nodes = (Node("s", "start", {}, {}, None), Node("e", "end", {}, {}, None))
    >>> structure_of(Workflow({}, nodes, (), ("s", "e"))).types
    ('start', 'end')
    """
    place = {node.id: index for index, node in enumerate(workflow.nodes)}
    return Structure(
        tuple(
            [
                OwnType(node.type, config.type)
                if type(config := node.config) is CustomConfig
                else node.type
                for node in workflow.nodes
            ]
        ),
        tuple(
            [
                _places(config.use_context_from, place)
                if type(config := node.config) is LlmConfig and config.use_context_from
                else None
                for node in workflow.nodes
            ]
        ),
        tuple([(place[edge.source], place[edge.target]) for edge in workflow.edges]),
    )


def _places(ids: Iterable[str], place: Mapping[NodeId, int]) -> tuple[int, ...]:
    return tuple([place[one] for one in ids if one in place])
