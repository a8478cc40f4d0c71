"""Which node types there are. A registry is a plain mapping; adding to one makes another."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from worker.core.codes import quote
from worker.core.engine.conditions import IfElse
from worker.core.engine.nodes import End, KnowledgeRetrieval, Llm, Node, Start, TextJoin

Registry = Mapping[str, Node[Any]]

LOOPS: Final = frozenset({"loop", "iteration"})
"""Types that are refused by name: an execution must stop."""


def register(registry: Registry, *nodes: Node[Any]) -> dict[str, Node[Any]]:
    """`registry` with more node types.

    Raises:
        ValueError: a type is there already, or is a loop's.
    """
    types = dict(registry)
    for node in nodes:
        if node.type in LOOPS:
            raise ValueError(f"the node type {quote(node.type)} is refused: loops are not executed")
        if node.type in types:
            raise ValueError(f"the node type {quote(node.type)} is registered already")
        types[node.type] = node
    return types


BUILT_IN: Final[Registry] = register(
    {}, Start(), KnowledgeRetrieval(), Llm(), TextJoin(), IfElse(), End()
)
