"""Convert a V1 workflow to a draft for a target: the same calls, the same answer (design section 3).

What V1 does implicitly (every knowledge node searches for the message, an LLM sees every
search before it, the end takes the first response) becomes mappings and edges; each place where
that differs from V1's picture becomes a warning. Same input, target and version, same bytes.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import Any, Final

import msgspec

from worker.core.targets.registry import DEFAULT
from worker.core.targets.target import Target
from worker.core.workflow import v1
from worker.core.workflow.config import CustomConfig, Defaults
from worker.core.workflow.draft import Draft
from worker.core.workflow.node_types import CustomNode
from worker.core.workflow.v1 import Workflow
from worker.errors import BotError

CONVERTER_VERSION: Final = "3"


def convert_text(text: bytes, defaults: Defaults, target: Target = DEFAULT) -> Draft:
    """Decode the column's text, convert it and hold the draft against the checklist.

    Raises:
        BotError: V1 refuses the workflow (its code says why), or the draft fails the checklist
            (`internal_error`: the fault is ours, and nothing is stored).
    """
    return convert_checked(v1.decode(text, defaults), target)


def convert_checked(workflow: Workflow, target: Target = DEFAULT) -> Draft:
    """Convert a decoded workflow and hold the draft against the checklist.

    Of like drafts of one plan the first goes through it and a sample of the others (`Target.is_due`).

    Raises:
        BotError: as `convert_text`.
    """
    draft = convert(workflow, target)
    if not target.is_due(draft):
        return draft
    if issues := target.check(draft.graph, _own_types(workflow)):
        listed = "; ".join(f"{issue.path}: {issue.message}" for issue in issues[:5])
        raise BotError("internal_error", f"the draft fails the checklist: {listed}")
    target.passed(draft)
    return draft


def convert(workflow: Workflow, target: Target = DEFAULT) -> Draft:
    """The draft of a workflow that `v1.decode` returned.

    Raises:
        BotError: `too_large`, where a draft would grow beyond all bounds.
    """
    return target.writer.write(workflow)


def _own_types(workflow: Workflow) -> dict[str, CustomNode[Any]]:
    configs = (node.config for node in workflow.nodes)
    return {one.type.type: one.type for one in configs if isinstance(one, CustomConfig)}


def recipe(target: Target, defaults: Defaults, reader: str) -> int:
    """The number of 64 bits, with a sign, that stands for how workflows are converted here.

    `reader` is the version of what judges V1's values (pydantic). Of node types of an installation's own
    only the names are in it: how such a type reads a workflow has no version, so a draft that holds one
    does not follow from this.

    >>> recipe(DEFAULT, Defaults(), "2.12") == recipe(DEFAULT, Defaults(model="gpt-4"), "2.12")
    False
    """
    decides = (
        *(CONVERTER_VERSION, target.name, defaults.model, defaults.provider, reader),
        sorted(defaults.types),
    )
    digest = blake2b(msgspec.json.encode(decides), digest_size=8).digest()
    return int.from_bytes(digest, "big", signed=True)
