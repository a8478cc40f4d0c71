"""What a value must be, in words: of a setting or in a file, for errors and for the page of settings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from msgspec import inspect


def expected(kind: inspect.Type) -> str:
    """Completes "it must be …", from the setting's type and bounds.

    >>> from typing import Annotated, Literal
    >>> from msgspec import Meta
    >>> expected(inspect.type_info(Annotated[int, Meta(ge=1, le=10_000)]))
    'a whole number from 1 to 10,000'
    >>> expected(inspect.type_info(Annotated[float, Meta(ge=0)]))
    'a number of at least 0'
    >>> expected(inspect.type_info(Literal["json", "auto", "console"]))
    'auto, console or json'
    >>> expected(inspect.type_info(Annotated[float, Meta(gt=0, le=300)] | None))
    'a number above 0 and at most 300'
    """
    match kind:
        case inspect.Metadata(type=inner):
            stated: str | None = extra(kind).get("expected")
            return stated or expected(inner)
        case inspect.UnionType(types=types):
            return _one_of(
                [expected(one) for one in types if not isinstance(one, inspect.NoneType)]
            )
        case inspect.LiteralType(values=values):
            return _one_of(sorted(map(str, values)))
        case inspect.StrType():
            return "text"
    return _number(kind)


def _number(kind: inspect.Type) -> str:
    match kind:
        case inspect.IntType(ge=low, le=high):
            return f"a whole number {_range(low, high)}".rstrip()
        case inspect.FloatType(ge=low, gt=above, le=high):
            return f"a number {_range(low, high, above)}".rstrip()
        case inspect.DecimalType():
            return "a number"
    raise TypeError(f"no words for the type {kind}")


def extra(kind: inspect.Type) -> dict[str, Any]:
    """What `worker.settings.field` states about a setting besides its type."""
    return kind.extra or {} if isinstance(kind, inspect.Metadata) else {}


def _range(low: float | None, high: float | None, above: float | None = None) -> str:
    if above is not None:
        return f"above {above:,g}" + ("" if high is None else f" and at most {high:,g}")
    if low is not None and high is not None:
        return f"from {low:,} to {high:,}"
    if low is not None:
        return f"of at least {low:,}"
    return f"of at most {high:,}" if high is not None else ""


def _one_of(values: Sequence[str]) -> str:
    *first, last = values
    return f"{', '.join(first)} or {last}" if first else last
