"""Node types of your own: what a package imports to make one, and those that this installation has.

A package subclasses `Node` (V2 alone) or `CustomNode` (a type that V1 has too), and names the class
by an entry point in its pyproject.toml:

    [project.entry-points."flowshift.nodes"]
    shout = "our_nodes:Shout"
"""

from __future__ import annotations

from importlib.metadata import EntryPoint, entry_points
from typing import Any, Final

from worker.core.engine.registry import Registry, custom_types, register
from worker.core.targets.registry import DEFAULT
from worker.core.targets.target import Target
from worker.core.workflow.calls import Providers
from worker.core.workflow.config import Defaults
from worker.core.workflow.node_types import CustomNode, Node
from worker.core.workflow.v2 import Port, Ports
from worker.errors import ConfigError
from worker.settings import Settings

__all__ = ["CustomNode", "Node", "Port", "Ports", "Providers", "defaults", "installed"]

GROUP: Final = "flowshift.nodes"


def installed(target: Target = DEFAULT) -> Registry:
    """Every node type that drafts for a target can have here. Packages are looked for each time.

    Raises:
        ConfigError: an entry point cannot be loaded, is no node type, or brings one that is there.
    """
    registry = target.rules.built_in
    for entry_point in sorted(entry_points(group=GROUP), key=lambda found: found.name):
        try:
            registry = register(registry, _load(entry_point))
        except Exception as error:
            raise ConfigError(
                f"the entry point {entry_point.name} = {entry_point.value} of the group {GROUP} "
                f"cannot be used: {error}"
            ) from error
    return registry


def defaults(settings: Settings, registry: Registry) -> Defaults:
    """How V1's workflows are read here: by the settings, and with the types of `registry`."""
    return Defaults(settings.default_model, settings.default_provider, types=custom_types(registry))


def _load(entry_point: EntryPoint) -> Node[Any]:
    loaded = entry_point.load()
    if not (isinstance(loaded, type) and issubclass(loaded, Node)):
        raise TypeError("it is no subclass of worker.nodes.Node")
    return loaded()
