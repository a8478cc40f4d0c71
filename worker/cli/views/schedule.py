"""The schedule in `status`: when the beat prunes next, and what the last prune came to."""

from __future__ import annotations

import datetime as dt

from worker.cli.printing import Text
from worker.steps.prune.calendar import PruneSchedule


def prune_text(schedule: PruneSchedule) -> Text:
    """The schedule in one line."""
    when = "never (FLOWSHIFT_PRUNE_AT)" if schedule.next_at is None else _at(schedule.next_at)
    text = Text(f"prune: next {when}; ")
    last = schedule.last
    if last is None:
        return text.append("none yet")
    gone = last.gone
    why = f" ({last.reason})" if last.reason else ""
    text.append(
        f"last {_at(last.started_at)}, {last.state}{why}: {gone.get('runs', 0):,} execution runs and "
        f"{gone.get('nodes', 0):,} node executions deleted",
        "red" if last.state == "stopped" else None,
    )
    if schedule.missed is not None:
        text.append(
            f"; the one of {_at(schedule.missed)} did not begin: no beat or no worker", "red"
        )
    return text


def _at(time: dt.datetime) -> str:
    return f"{time.astimezone(dt.UTC):%Y-%m-%d %H:%M} UTC"
