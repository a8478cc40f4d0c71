"""What `alerts` prints."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence

from worker.cli.printing import Console, Text
from worker.core.shown import plain
from worker.steps.alerts.show import Shown

_STYLES = {"ok": "green", "pending": "yellow", "firing": "red", "not judged": "dim"}


def print_alerts(out: Console, found: Sequence[Shown]) -> None:
    """Print each rule: its state and since when, the rule, and below it what was read last."""
    for one in found:
        state = "not judged" if one.alert is None else one.alert.state
        since = "" if one.alert is None else f" since {_at(one.alert.since)}"
        line = Text(f"{one.rule.name:20}  ").append(state, _STYLES[state])
        out.print(line.append(f"{since}: {plain(str(one.rule), 200)}"))
        if one.alert is not None and one.alert.said:
            out.print(f"    {plain(one.alert.said, 500)} (looked at {_at(one.alert.judged_at)})")


def _at(time: dt.datetime) -> str:
    return f"{time.astimezone(dt.UTC):%Y-%m-%d %H:%M:%S} UTC"
