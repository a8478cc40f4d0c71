"""What a selector of the platform names: an output of a node, and what is inside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from worker.core.targets.answer.templates import OUTER_VARIABLES, OWN_INPUTS
from worker.core.workflow.node_types import Inputs, variable_input


def outputs_named(selectors: Sequence[str]) -> tuple[str, ...]:
    """The outputs (`<node id>.<port>`) that selectors lead to; those of the node itself left out."""
    named = (_output_named(selector) for selector in selectors)
    return tuple(dict.fromkeys(one for one in named if one is not None))


def value_named(inputs: Inputs, selector: str) -> Any:
    """What a selector names, None if there is nothing."""
    parts = _parts(selector)
    if parts[:1] == [OWN_INPUTS]:
        return inputs.get(".".join(parts[1:]))
    named = _output_named(selector)
    value = None if named is None else inputs.get(variable_input(named))
    if parts and parts[0] in OUTER_VARIABLES:
        return value
    for part in parts[2:]:
        value = _inside(value, part)
    return value


def _parts(selector: str) -> list[str]:
    return [part for part in selector.strip().split(".") if part]


def _output_named(selector: str) -> str | None:
    parts = _parts(selector)
    if len(parts) < 2 or parts[0] == OWN_INPUTS:
        return None
    return ".".join(parts if parts[0] in OUTER_VARIABLES else parts[:2])


def _inside(value: Any, part: str) -> Any:
    if isinstance(value, Mapping):
        return value.get(part)
    if isinstance(value, list | tuple) and part.isdecimal():
        return value[int(part)] if int(part) < len(value) else None
    return None
