"""A node's data as this platform reads it: what V1 normalised, without keys that mean something new."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from worker.core.workflow.draft import Data
from worker.core.workflow.json_values import JsonObject, text_of
from worker.core.workflow.v1 import Node

# Keys that said nothing to V1 and mean something to this platform: they stay under another name.
_SET_ASIDE: Final[Mapping[str, tuple[str, ...]]] = {
    "start": ("ports", "port_bindings", "output_schema"),
    "knowledge-retrieval": ("similarity_threshold", "persist_to_conversation"),
    "llm": ("template", "allow_conversation_context_fallback", "conversation_context_key"),
    "end": (),
}
_CONVERSATION_KEY: Final = re.compile("conversation_.*_key", re.DOTALL)
_SET_ASIDE_OF_GRAPH: Final = (
    *("environment_variables", "conversation_variables", "workflow_version_id"),
)


def graph_keys(keys: JsonObject) -> JsonObject:
    """The keys beside nodes and edges, with what this platform alone would read put aside."""
    return without(keys, _SET_ASIDE_OF_GRAPH)


def data_of(node: Node, normalised: Data) -> Data:
    """A node's data as V1 read it, with what this platform alone would read put aside."""
    node_type = node.type
    aside = list(_SET_ASIDE.get(node_type, ()))
    if node_type == "knowledge-retrieval":
        aside += [key for key in normalised if _CONVERSATION_KEY.fullmatch(key)]
    data = without(normalised, aside)
    if "type" in data and text_of(data["type"]) != node_type:
        data = without(data, ("type",))
    data["type"] = node_type
    if node_type == "knowledge-retrieval":
        data["similarity_threshold"] = 0
    return data


def without(keys: Mapping[str, Any], names: Sequence[str]) -> dict[str, Any]:
    """The same keys, those with the names put aside as `v1_…`."""
    kept = dict(keys)
    for name in names:
        if name in kept:
            aside, number = f"v1_{name}", 1
            while aside in kept:
                number += 1
                aside = f"v1_{name}_{number}"
            kept[aside] = kept.pop(name)
    return kept
