"""Both sides' answers to a message in short, cut around the place where they differ first.

A hostile workflow answers with megabytes: what is kept of it is what a person can read.
"""

from __future__ import annotations

from itertools import takewhile
from typing import Final

import msgspec

from worker.core.parity.trial import Compared
from worker.core.workflow.calls import Trace

BEFORE: Final = 60
AFTER: Final = 240
_ERROR: Final = 500
_LOOKED_AT: Final = 200_000


class Side(msgspec.Struct, frozen=True):
    """What one side answered, or why it did not; an answer in two: up to the first difference, and on."""

    same: str
    differs: str
    error: str | None
    elapsed_us: int


class OfMessage(msgspec.Struct, frozen=True):
    """One message, and what both sides did on it; `same` as in `Parity`. `known` are codes."""

    message: str
    same: bool | None
    difference: str | None
    known: tuple[str, ...]
    v1: Side
    v2: Side


def in_short(compared: Compared) -> OfMessage:
    """A comparison, with no text longer than a person reads."""
    at = first_difference(compared.v1.answer or "", compared.v2.answer or "")
    return OfMessage(
        message=compared.message,
        same=compared.parity.same,
        difference=compared.parity.difference,
        known=tuple(one.code for one in compared.parity.known),
        v1=_side(compared.v1, at),
        v2=_side(compared.v2, at),
    )


def first_difference(one: str, other: str) -> int | None:
    """Where two texts differ first; None if they are equal, or only differ far behind what is shown.

    >>> first_difference("tea", "ten"), first_difference("tea", "tea"), first_difference("te", "tea")
    (2, None, 2)
    """
    if one == other:
        return None
    pairs = zip(one[:_LOOKED_AT], other[:_LOOKED_AT], strict=False)
    at = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))
    return at if at < _LOOKED_AT else None


def _side(trace: Trace, at: int | None) -> Side:
    answer, error = trace.answer or "", trace.error
    same, differs = _cut(answer, at)
    return Side(same, differs, None if error is None else error[:_ERROR], trace.elapsed_us)


def _cut(answer: str, at: int | None) -> tuple[str, str]:
    if at is None:
        return _shortened(answer), ""
    begin = max(0, at - BEFORE)
    return ("…" if begin else "") + answer[begin:at], _shortened(answer[at : at + AFTER + 1])


def _shortened(text: str) -> str:
    return text if len(text) <= AFTER else f"{text[:AFTER]}…"
