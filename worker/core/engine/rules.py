"""What is peculiar to the engine of one target; `worker.core.engine.v2` is what all have in common."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import msgspec

from worker.core.engine.registry import Registry
from worker.core.workflow.calls import NodeRecord
from worker.core.workflow.v2 import DrawnGraph, DrawnNode, PortMapping


class Rules(msgspec.Struct, frozen=True):
    """An engine's node types, and its answers to what the graph leaves open.

    `built_in`: its own node types; an installation's come on top. `refuse`: why it does not run a
    graph at all, None if it does. `mappings`: where the inputs of a node take their values from.
    `answer`: the answer, given the response of the first end that ran and what every node did.
    """

    built_in: Registry
    refuse: Callable[[DrawnGraph], str | None] = lambda _: None
    mappings: Callable[[DrawnGraph, DrawnNode], Mapping[str, PortMapping]] = lambda _, node: (
        node.variable_mappings
    )
    answer: Callable[[str, Sequence[NodeRecord]], str] = lambda response, _: response
