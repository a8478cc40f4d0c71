"""What `notify` prints, and the line of `status` about notifications that are stuck."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence

from worker.cli.printing import Console, Text
from worker.core.shown import plain
from worker.core.units import duration
from worker.db.channels import Stuck
from worker.db.notifications import Delivery, Told
from worker.steps.notify.test import Tested

_STYLES = {"info": "green", "warning": "yellow", "error": "red"}


def print_told(out: Console, told: Sequence[Told]) -> None:
    """Print notifications: when, how grave and what; below it why, and each channel's answer."""
    for one in told:
        line = Text(f"{_at(one.happened_at)}  ").append(f"{one.level:7}", _STYLES[one.level])
        repeats = f" ({one.repeats:,} more times)" if one.repeats else ""
        out.print(line.append(f"  {plain(one.title)}{repeats}"))
        if one.reason:
            out.print(f"    {plain(one.reason, 2_000)}")
        out.print(f"    {_channels(one)}")


def _channels(one: Told) -> str:
    if one.spread_at is None:
        return "waits for a sender"
    if not one.deliveries:
        return "no channel is told of it"
    return ", ".join(_delivery(delivery) for delivery in one.deliveries)


def _delivery(one: Delivery) -> str:
    answer = f" ({plain(one.answer)})" if one.answer and one.state != "sent" else ""
    tries = f" after {one.tries:,} tries" if one.tries > 1 else ""
    return f"{plain(one.channel)}: {one.state.replace('_', ' ')}{tries}{answer}"


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


def print_stuck(out: Console, stuck: Sequence[Stuck]) -> None:
    """Print what is stuck, in red."""
    for line in stuck_lines(stuck):
        out.print(Text(line, "red"))


def tested_line(tested: Tested) -> str:
    """What a channel answered to a test."""
    answer = tested.answer
    took = "took it" if answer.result == "sent" else "did not take it"
    return f"{tested.channel} ({tested.kind}) {took}: {answer.said}"


def _at(time: dt.datetime) -> str:
    return f"{time.astimezone(dt.UTC):%Y-%m-%d %H:%M:%S} UTC"
