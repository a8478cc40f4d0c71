"""Pace: how many bots a batch takes, when the next one may begin, how long to rest."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import msgspec

LEAST_BOTS: Final = 10
"""No batch is cut below this for its duration: the rest of a batch's work would outweigh its bots."""

FIRST_BOTS: Final = 200
"""How many bots a run's first batches take where nothing is executed."""

GROWTH: Final = 4
"""How many times larger a batch may be than the largest of the last ones."""

OLD_WEIGHT: Final = 0.75
"""What each earlier batch counts of the one after it."""

TOLERANCE: Final = 1.25
"""A batch is cut only if it is this much over its size, so that no slivers are left."""

BURST_S: Final = 1.0
"""How much of a limited run's lost time may be caught up on."""


def batch_size(
    recent: Iterable[tuple[int, float]],
    *,
    target_ms: int,
    most: int,
    max_rate: float | None,
    messages: int = 0,
) -> int:
    """How many bots the next batch should take: as many as `target_ms` lasted lately.

    `recent` are (bots, milliseconds) of the last batches, oldest first. Without any, a run begins
    small: with `FIRST_BOTS`, or fewer by the `messages` that each bot is tried on; and it grows by
    `GROWTH`. Bounded by `LEAST_BOTS` and `most`; with `max_rate`, also by what that lets through in
    the target time. With a target of 0 it is `most`.

    The rule is pt-online-schema-change's `--chunk-time` (its WeightedAvgRate): rate = Σ bots / Σ
    time, each earlier batch weighing 0.75 of the next; size = rate × target.

    >>> batch_size([(500, 2000.0)], target_ms=1000, most=500, max_rate=None)
    250
    >>> batch_size([], target_ms=1000, most=500, max_rate=None, messages=6)
    28
    >>> batch_size([(28, 20.0)], target_ms=1000, most=500, max_rate=None, messages=6)
    112
    >>> batch_size([], target_ms=1000, most=500, max_rate=100)
    100
    """
    if not target_ms:
        return most
    bots, spent_ms, largest = 0.0, 0.0, 0
    for count, duration_ms in recent:
        bots = bots * OLD_WEIGHT + count
        spent_ms = spent_ms * OLD_WEIGHT + duration_ms
        largest = max(largest, count)
    if not bots or not spent_ms:
        size = FIRST_BOTS // (1 + messages)
    else:
        size = min(int(bots / spent_ms * target_ms), GROWTH * largest)
    size = max(LEAST_BOTS, size)
    if max_rate is not None:
        size = min(size, max(1, int(max_rate * target_ms / 1000)))
    return max(1, min(size, most))


def first_part(bots: int, size: int) -> int:
    """How many of a batch's bots to do now, the others becoming a batch of their own.

    Parts of equal size, so that no sliver is left; the whole batch where it is hardly over `size`.

    >>> first_part(500, 300), first_part(500, 450), first_part(500, 100)
    (250, 500, 100)
    """
    if bots <= size * TOLERANCE:
        return bots
    return -(-bots // -(-bots // size))


class Turn(msgspec.Struct, frozen=True):
    """When a batch may begin: after `wait_s` (0: now), and then the next one not before `next_s`."""

    wait_s: float
    next_s: float


def turn(now_s: float, not_before_s: float | None, bots: int, max_rate: float) -> Turn:
    """Let `bots` through at `max_rate` a second, at a time `now_s` (seconds of any clock).

    The generic cell rate algorithm (a leaky bucket kept as one time): each batch pushes the next
    one's time on by its own length. Time lost is caught up on by at most `BURST_S`.

    >>> turn(100.0, None, 50, 10.0), turn(100.0, 104.0, 50, 10.0)
    (Turn(wait_s=0.0, next_s=104.0), Turn(wait_s=4.0, next_s=104.0))
    """
    due_s = max(not_before_s or 0.0, now_s - BURST_S)
    if due_s > now_s:
        return Turn(due_s - now_s, due_s)
    return Turn(0.0, due_s + bots / max_rate)


def rest_s(batch_ms: float, nice_ratio: float) -> float:
    """Seconds to rest after a batch: its time times gh-ost's `nice-ratio`.

    >>> rest_s(800, 0.5)
    0.4
    """
    return batch_ms / 1000 * nice_ratio
