"""What is said of notifications that are stuck."""

from __future__ import annotations

from collections.abc import Sequence

from worker.core.shown import plain
from worker.core.units import duration
from worker.db.channels import Stuck


def stuck_lines(stuck: Sequence[Stuck]) -> list[str]:
    """What is stuck, a line a channel; empty if nothing is.

    >>> one = Stuck(channel="ops", waiting=2, given_up=1, oldest_s=90.0, answer="HTTP 503", next_at=None)
    >>> print(stuck_lines([one])[0].partition(": ")[2])
    ops has not taken 2 for 1 min 30 s, 1 given up today (HTTP 503): flowshift notify list
    """
    return [_stuck(one) for one in stuck]


def _stuck(one: Stuck) -> str:
    name = plain(one.channel) if one.channel else "no sender"
    took = "taken" if one.channel else "looked at"
    parts = (
        [f"has not {took} {one.waiting:,} for {duration(one.oldest_s or 0)}"] if one.waiting else []
    )
    if one.given_up:
        parts.append(
            f"{one.given_up:,} given up today" if parts else f"{one.given_up:,} were given up today"
        )
    answer = f" ({plain(one.answer)})" if one.answer else ""
    return f"notifications stuck: {name} {', '.join(parts)}{answer}: flowshift notify list"
