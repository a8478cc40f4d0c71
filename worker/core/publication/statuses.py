"""Which statuses of executions the gate knows; all others count as nothing, and are named."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Final

from worker.core.codes import quote
from worker.core.counted import counted, some

KNOWN: Final = ("succeeded", "failed", "running")

_SHOWN: Final = 3

Unknown = Sequence[tuple[str, int]]
"""Statuses that are not known, and how many executions have each, the most first."""


def together(*found: Mapping[str, int]) -> tuple[tuple[str, int], ...]:
    """All of them, the most frequent first.

    >>> together({"paused": 2}, {"paused": 1, "queued": 4})
    (('queued', 4), ('paused', 3))
    """
    total = Counter[str]()
    for one in found:
        total.update(one)
    return tuple(sorted(total.items(), key=lambda one: (-one[1], one[0])))


def said(unknown: Unknown) -> str:
    """How many executions have which unknown statuses.

    >>> said([("queued", 4), ("", 1)])
    "5 executions have a status that is not known ('queued', none)"
    """
    executions = counted(sum(count for _, count in unknown), "execution has", "executions have")
    names = [quote(status) if status else "none" for status, _ in unknown]
    return f"{executions} a status that is not known ({some(names, _SHOWN)})"
