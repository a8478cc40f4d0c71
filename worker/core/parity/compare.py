"""Whether V1 and V2 did the same on the same message, and if not, what differs first."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable
from typing import Final

import msgspec

from worker.core.codes import quote
from worker.core.targets.target import KnownDifference
from worker.core.workflow.calls import Call, Generate, Retrieve, Trace

_SHOWN: Final = 60
_LEAD: Final = 20
EMPTY_RESPONSE: Final = (
    "the first response is empty: V1 puts its fixed sentence in its place, V2 has no such rule and "
    "answers with the empty text"
)
"""What differs where a model answers with nothing: no draft can say what V1 does then."""
_NAMES: Final = {Retrieve: "search", Generate: "LLM call"}


class Parity(msgspec.Struct, frozen=True):
    """`same` is None if V1 itself failed: there is nothing to compare with.

    `known` are the target's known differences that the two differ by; they are the same apart from
    these, and `difference` says what that came to.
    """

    same: bool | None
    difference: str | None = None
    known: tuple[KnownDifference, ...] = ()


def compare(v1: Trace, v2: Trace) -> Parity:
    """Compare two executions: the same calls, each as often, in any order, and the same answer.

    Numbers compare as numbers (0 is 0.0).
    """
    if v1.error is not None:
        return Parity(None, f"V1 gave no answer to compare with: {v1.error}")
    if v2.error is not None:
        return Parity(False, f"V1 answered, V2 did not: {v2.error}")
    if v1.calls != v2.calls:
        missing, extra = _surplus(v1.calls, v2.calls), _surplus(v2.calls, v1.calls)
        if missing or extra:
            return Parity(False, _calls_differ(missing, extra))
    if v1.first_response_empty and v2.answer == "":
        return Parity(False, EMPTY_RESPONSE)
    if v1.answer != v2.answer:
        return Parity(False, f"the answer is {_two_texts(v1.answer or '', v2.answer or '')}")
    return Parity(True)


def _surplus(calls: Iterable[Call], others: Iterable[Call]) -> list[Call]:
    """The calls that are not among the others, each as often as it is not, in order."""
    spare = Counter(others)
    surplus = []
    for call in calls:
        if spare[call]:
            spare[call] -= 1
        else:
            surplus.append(call)
    return surplus


def _calls_differ(missing: list[Call], extra: list[Call]) -> str:
    """V1's first call that V2 did not make, beside the one that V2 most likely made instead."""
    if not missing:
        return f"V2 makes a call that V1 does not: {_described(extra[0])}"
    wanted = missing[0]
    alike = [call for call in extra if type(call) is type(wanted)]
    if not alike:
        return f"V2 does not make a call that V1 makes: {_described(wanted)}"
    nearest = min(alike, key=lambda call: len(_fields_that_differ(wanted, call)))
    name = _fields_that_differ(wanted, nearest)[0]
    values = getattr(wanted, name), getattr(nearest, name)
    if isinstance(values[0], str):
        found = _two_texts(*values)
    else:
        found = f"{_value(values[0])} in V1 and {_value(values[1])} in V2"
    return f"the {name} of {_a(wanted)} is {found}"


def _a(call: Call) -> str:
    return f"a {_NAMES[type(call)]}" if type(call) is Retrieve else f"an {_NAMES[type(call)]}"


def _fields_that_differ(one: Call, other: Call) -> list[str]:
    names = one.__struct_fields__
    return [name for name in names if getattr(one, name) != getattr(other, name)]


def _described(call: Call) -> str:
    fields = (f"{name} {_value(getattr(call, name))}" for name in call.__struct_fields__)
    return f"{_NAMES[type(call)]} with {', '.join(fields)}"


def _value(value: object) -> str:
    if isinstance(value, tuple):
        return f"[{', '.join(_value(item) for item in value)}]"
    return quote(value, _SHOWN) if isinstance(value, str) else str(value)


def _two_texts(one: str, other: str) -> str:
    """Two texts from a little before where they part."""
    shorter = min(len(one), len(other))
    at = bisect_left(range(shorter), True, key=lambda i: one[: i + 1] != other[: i + 1])
    first = max(0, at - _LEAD) if max(len(one), len(other)) > _SHOWN else 0
    lead = "…" if first else ""
    where = f" (they part at character {at + 1:,})" if first else ""
    shown = [quote(lead + text[first:], _SHOWN) for text in (one, other)]
    return f"{shown[0]} in V1 and {shown[1]} in V2{where}"
