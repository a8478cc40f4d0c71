"""What decides a draft beside the workflow's text, as one number: equal numbers, equal drafts."""

from __future__ import annotations

from hashlib import blake2b

import msgspec

from worker.core.targets.convert import CONVERTER_VERSION
from worker.core.targets.target import Target
from worker.core.workflow.config import Defaults


def recipe(target: Target, defaults: Defaults, reader: str) -> int:
    """The number of 64 bits, with a sign, that stands for how workflows are converted here.

    `reader` is the version of what judges V1's values (pydantic). Of node types of an installation's own
    only the names are in it: how such a type reads a workflow has no version, so a draft that holds one
    does not follow from this.

    >>> from worker.core.targets.registry import DEFAULT
    >>> recipe(DEFAULT, Defaults(), "2.12") == recipe(DEFAULT, Defaults(model="gpt-4"), "2.12")
    False
    """
    decides = (
        *(CONVERTER_VERSION, target.name, defaults.model, defaults.provider, reader),
        sorted(defaults.types),
    )
    digest = blake2b(msgspec.json.encode(decides), digest_size=8).digest()
    return int.from_bytes(digest, "big", signed=True)
