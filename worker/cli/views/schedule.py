"""The schedule in `status`: when the beat prunes next, and what the last prune came to."""

from __future__ import annotations

import datetime as dt

import msgspec

from worker.cli.printing import Text
from worker.cli.session import reading
from worker.core.policy.prune import DAY_S, may_begin, slot_at
from worker.db.prune import executions, record
from worker.db.prune.record import Prune
from worker.runtime import Runtime


class PruneSchedule(msgspec.Struct, frozen=True):
    """`next_at` is null where the beat never prunes, `last` where nothing was pruned yet.

    `missed` is the last time of day that passed without a prune, null where there was one.
    """

    next_at: dt.datetime | None
    last: Prune | None
    missed: dt.datetime | None


def prune_schedule(current: Runtime) -> PruneSchedule:
    """By the database's clock."""
    with reading(current) as connection:
        now_s = int(executions.now(connection).timestamp())
        last = record.last(connection)
        slot_s = slot_at(now_s, current.settings.prune_at)
        if slot_s is None:
            return PruneSchedule(None, last, None)
        slot = dt.datetime.fromtimestamp(slot_s, dt.UTC)
        state = record.state_of(connection, slot)
    if state is None and may_begin(now_s, slot_s):
        return PruneSchedule(slot, last, None)
    was_there = last is not None and last.started_at < slot
    return PruneSchedule(
        slot + dt.timedelta(seconds=DAY_S), last, slot if state is None and was_there else None
    )


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
