"""By which rules a publication's bots are judged: what a person allowed, what the platform has."""

from __future__ import annotations

from worker.core.publication.eligibility import Rules
from worker.core.targets.detect import SETTING
from worker.core.targets.registry import TARGETS
from worker.db.publication.waves import Options
from worker.errors import ConfigError
from worker.runtime import Runtime
from worker.settings.platform import node_types


def rules_of(current: Runtime, options: Options, *, asks_platform: bool = False) -> Rules:
    """The rules of a publication as this process knows the platform.

    With `asks_platform`, its validator must have been heard of a draft. Its node types are those of
    FLOWSHIFT_NODE_TYPES, else those that drafts for its target can have here.

    Raises:
        ConfigError: its target is not known here, or a package brings a node type that cannot be used.
    """
    if options.target not in TARGETS:
        known = ", ".join(TARGETS)
        message = f"the publication is for the target {options.target!r}; known here: {known}"
        raise ConfigError(f"{message}. Run publishers of its version", setting=SETTING)
    named = node_types(current.settings.node_types)
    return Rules(
        publish_edited=options.publish_edited,
        live_drafts=options.live_drafts,
        target=options.target,
        asks_platform=asks_platform,
        node_types=frozenset(named or current.registry_of(TARGETS[options.target])),
    )
