"""How many executions a wave needs at least, how many are missing, and how many of a bot count."""

from __future__ import annotations

import math
from typing import Final

from worker.core.publication.e_values import log_e_below

PASS_E: Final = 20.0
"""A wave passes at this E-value: of waves that are too bad at most one in so many passes."""

CAP: Final = 30
"""So many executions of a bot count for its wave, the first ones, so that no loud bot decides."""


def passes(failed: int, executions: int, p1: float, e: float = PASS_E) -> bool:
    """Whether the executions refute that `p1` or more fail, at an E-value of `e`.

    >>> passes(0, 70, 0.05), passes(0, 69, 0.05), passes(1, 70, 0.05)
    (True, False, False)
    """
    return log_e_below(failed, executions, p1) >= math.log(e)


def missing(failed: int, executions: int, p1: float, e: float = PASS_E) -> int:
    """How many clean executions more it takes until these pass; 0 where they do.

    >>> [missing(0, 0, p1) for p1 in (0.1, 0.05, 0.02)]
    [34, 70, 178]
    >>> missing(0, 60, 0.05), missing(0, 70, 0.05)
    (10, 0)
    """
    if passes(failed, executions, p1, e):
        return 0
    enough = 1
    while not passes(failed, executions + enough, p1, e):
        enough *= 2
    few = enough // 2
    while enough - few > 1:
        middle = (few + enough) // 2
        if passes(failed, executions + middle, p1, e):
            enough = middle
        else:
            few = middle
    return enough


def seconds_until(more: int, executions: int, elapsed_s: float) -> float | None:
    """In how many seconds `more` executions will have come, at the rate so far; None without one.

    >>> seconds_until(10, 60, 600.0), seconds_until(0, 0, 0.0), seconds_until(10, 0, 600.0)
    (100.0, 0.0, None)
    """
    if more == 0:
        return 0.0
    return more * elapsed_s / executions if executions else None


def cap(bots: int, p1: float) -> int:
    """How many executions of each bot count for a wave of `bots` bots.

    `CAP`, and more where the bots are so few that the wave could not pass by that: twice what it
    needs, shared by its bots.

    >>> cap(1, 0.05), cap(3, 0.05), cap(20, 0.05)
    (140, 47, 30)
    """
    return max(CAP, math.ceil(2 * missing(0, 0, p1) / max(1, bots)))
