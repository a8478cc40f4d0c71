"""The values of a difference, in words."""

from __future__ import annotations

from worker.core.shown import short
from worker.core.workflow.diff import Difference, type_of


def values_of(change: Difference) -> tuple[str | None, str | None]:
    """What stood there before and after; with their types where these differ and may look alike."""
    if change.change == "changed":
        types = type_of(change.before), type_of(change.after)
        if types[0] != types[1] and not {*types} & {"array", "object"}:
            return _typed(change.before), _typed(change.after)
        return short(change.before), short(change.after)
    return (
        None if change.before is None else short(change.before),
        None if change.after is None else short(change.after),
    )


def _typed(value: object) -> str:
    if value is None:
        return "null"
    shown = f'"{short(value)}"' if isinstance(value, str) else short(value)
    return f"{shown} {type_of(value)}"
