"""What `notify` prints, and the line of `status` about notifications that are stuck."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence

from worker.cli.printing import Console, Text
from worker.core.shown import plain
from worker.db.channels import Stuck
from worker.db.notifications import Delivery, Told
from worker.steps.notify.test import Tested
from worker.steps.notify.words import stuck_lines

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
