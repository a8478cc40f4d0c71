"""Which node types there are. A registry is a plain mapping; adding to one makes another."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from worker.core.codes import quote
from worker.core.workflow.node_types import CustomNode, Node, faults

Registry = Mapping[str, Node[Any]]

LOOPS: Final = frozenset({"loop", "iteration"})
"""Types that are refused by name: an execution must stop."""

_V1_SPELLINGS: Final = frozenset({"knowledge", "custom"})
"""Types that in V1 mean one that is built in, or none."""


def register(registry: Registry, *nodes: Node[Any]) -> dict[str, Node[Any]]:
    """`registry` with more node types.

    Raises:
        ValueError: a type is there already, is a loop's, or is declared wrongly.
    """
    types = dict(registry)
    for node in nodes:
        if wrong := faults(node):
            raise ValueError("; ".join(wrong))
        if node.type in LOOPS:
            raise ValueError(f"the node type {quote(node.type)} is refused: loops are not executed")
        if node.type in types:
            raise ValueError(f"the node type {quote(node.type)} is registered already")
        if isinstance(node, CustomNode) and node.type in _V1_SPELLINGS:
            raise ValueError(f"the node type {quote(node.type)} means something else in V1")
        types[node.type] = node
    return types


def custom_types(registry: Registry) -> dict[str, CustomNode[Any]]:
    """Those of its types that V1 has too, besides its own: what `Defaults.types` wants."""
    return {name: node for name, node in registry.items() if isinstance(node, CustomNode)}
