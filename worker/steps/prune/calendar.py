"""When the beat prunes next, and what the last prune came to."""

from __future__ import annotations

import datetime as dt

import msgspec
import sqlalchemy as sa

from worker.core.policy.prune import DAY_S, may_begin, slot_at
from worker.db.engine import map_database_errors
from worker.db.prune import executions, record
from worker.db.prune.record import Prune


class PruneSchedule(msgspec.Struct, frozen=True):
    """`next_at` is null if the beat never prunes, `last` if nothing was pruned yet.

    `missed` is the last time of day that passed without a prune, null if there was one.
    """

    next_at: dt.datetime | None
    last: Prune | None
    missed: dt.datetime | None


def read_schedule(engine: sa.Engine, prune_at: str) -> PruneSchedule:
    """The schedule by the database's clock; `prune_at` is the setting.

    Raises:
        TransientError: the database was unavailable.
    """
    with map_database_errors(), engine.connect() as connection:
        return schedule(connection, prune_at)


def schedule(connection: sa.Connection, prune_at: str) -> PruneSchedule:
    """As `read_schedule`, on a connection that is there."""
    now_s = int(executions.now(connection).timestamp())
    last = record.last(connection)
    slot_s = slot_at(now_s, prune_at)
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
