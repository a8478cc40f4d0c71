"""A node's data as this platform reads it: what V1 normalised, without keys that mean something new."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Final

import msgspec
from msgspec import Raw

from worker.core.workflow.json_values import JsonObject, text_of
from worker.core.workflow.plan import PlannedNode

# Keys that said nothing to V1 and mean something to this platform: they stay under another name.
_SET_ASIDE: Final[Mapping[str, tuple[str, ...]]] = {
    "start": ("ports", "port_bindings", "output_schema"),
    "knowledge-retrieval": ("similarity_threshold", "persist_to_conversation"),
    "llm": ("template", "allow_conversation_context_fallback", "conversation_context_key"),
    "end": (),
}
_CONVERSATION_KEY: Final = re.compile("conversation_.*_key", re.DOTALL)
SET_ASIDE_OF_GRAPH: Final = (
    *("environment_variables", "conversation_variables", "workflow_version_id"),
)
_encode = msgspec.json.Encoder().encode


def data_of(planned: PlannedNode, normalised: JsonObject) -> JsonObject:
    """A node's data as V1 read it, with what this platform alone would read put aside."""
    node_type = planned.node.type
    aside = list(_SET_ASIDE.get(node_type, ()))
    if node_type == "knowledge-retrieval":
        aside += [key for key in normalised if _CONVERSATION_KEY.fullmatch(key)]
    data = without(normalised, aside)
    if "type" in data and text_of(data["type"]) != node_type:
        data = without(data, ("type",))
    data["type"] = Raw(_encode(node_type))
    if node_type == "knowledge-retrieval":
        data["similarity_threshold"] = Raw(b"0")
    return data


def without(keys: JsonObject, names: Sequence[str]) -> JsonObject:
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
