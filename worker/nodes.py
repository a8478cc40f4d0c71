"""The node types that this installation has: those built in, and those that packages bring.

A package adds a subclass of `worker.core.engine.nodes.Node` by an entry point in its pyproject.toml:

    [project.entry-points."flowshift.nodes"]
    shout = "our_nodes:Shout"
"""

from __future__ import annotations

from importlib.metadata import EntryPoint, entry_points
from typing import Any, Final

from worker.core.engine.nodes import Node
from worker.core.engine.registry import BUILT_IN, Registry, register
from worker.errors import ConfigError

GROUP: Final = "flowshift.nodes"


def installed() -> Registry:
    """Every node type that can be executed here.

    Raises:
        ConfigError: an entry point cannot be loaded, is no node type, or brings one that is there.
    """
    registry = BUILT_IN
    for entry_point in sorted(entry_points(group=GROUP), key=lambda found: found.name):
        try:
            registry = register(registry, _load(entry_point))
        except Exception as error:
            raise ConfigError(
                f"the entry point {entry_point.name} = {entry_point.value} of the group {GROUP} "
                f"cannot be used: {error}"
            ) from error
    return registry


def _load(entry_point: EntryPoint) -> Node[Any]:
    loaded = entry_point.load()
    if not (isinstance(loaded, type) and issubclass(loaded, Node)):
        raise TypeError("it is no subclass of worker.core.engine.nodes.Node")
    for name in ("type", "ports"):
        if not hasattr(loaded, name):
            raise TypeError(f"its class sets no `{name}`")
    return loaded()
