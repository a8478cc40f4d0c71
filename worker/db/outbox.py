"""The outbox: which batches belong into the queue and are not there yet.

PostgreSQL keeps what was enqueued; a message that is lost is enqueued again from here.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Final

import msgspec
import sqlalchemy as sa

from worker.core.counted import counted
from worker.core.policy.batch_ref import BatchRef
from worker.core.policy.run_kinds import PUBLISHES
from worker.core.policy.states import RunKind
from worker.core.publication.wave_ref import WaveRef
from worker.db.publication.wave_of_run import wave_of_run
from worker.db.tables import batches, runs


class ToEnqueue(msgspec.Struct, frozen=True):
    """A batch that goes into the queue; `slice` says for a person which bots it holds."""

    ref: BatchRef
    slice: str
    kind: RunKind


# Statements that each batch needs are made once: to make one takes longer than to send it.
_RUN: Final = sa.bindparam("of_run", type_=sa.BigInteger)
_ROOM: Final = sa.select(runs.c.options).where(
    runs.c.run_id == _RUN,
    runs.c.state == "running",
    sa.not_(sa.func.coalesce(runs.c.parked_until > sa.func.now(), sa.false())),
)


def _take_statement() -> sa.sql.dml.ReturningUpdate[Any]:
    waiting = (batches.c.run_id == _RUN, batches.c.state == "pending")
    in_window = (
        sa.select(batches.c.number)
        .where(*waiting)
        .order_by(batches.c.number)
        .limit(sa.bindparam("window", type_=sa.Integer))
        .subquery()
    )
    last_in_window = sa.select(sa.func.max(in_window.c.number)).scalar_subquery()
    chosen = (
        sa.select(batches.c.number)
        .where(*waiting, batches.c.enqueued_at.is_(None), batches.c.number <= last_in_window)
        .order_by(batches.c.number)
        .limit(sa.bindparam("most", type_=sa.Integer))  # null: all of them
        .with_for_update(skip_locked=True)
        .cte("chosen")
    )
    # An array, and its ends: looked up in the key's index. In a join all batches of a run that is new are
    # read, which the planner takes for an empty one until the table is analyzed.
    numbers = sa.func.array(sa.select(chosen.c.number).scalar_subquery())
    first, last = (
        sa.select(end(chosen.c.number)).scalar_subquery() for end in (sa.func.min, sa.func.max)
    )
    kind = sa.select(runs.c.kind).where(runs.c.run_id == _RUN).scalar_subquery()
    return (
        sa.update(batches)
        .where(
            batches.c.run_id == _RUN,
            batches.c.number.between(first, last),
            batches.c.number == sa.func.any(numbers),
        )
        .values(enqueued_at=sa.func.now())
        .returning(
            batches.c.number,
            batches.c.after_bot_id,
            batches.c.through_bot_id,
            batches.c.bot_ids[1],
            batches.c.bot_count,
            kind,
        )
    )


_TAKE: Final = _take_statement()


def take(connection: sa.Connection, run_id: int, window: int) -> list[ToEnqueue]:
    """Mark as enqueued what should be in the queue and is not, and return it, in order.

    The first `window` batches that no worker has begun belong there, however many are at work: a fleet
    of any size has no more messages wait in Redis at once, and any number of processes finds work.
    Nothing does while the run is paused, over or parked, and no more than the run's own limits let
    through (`queue_room`). Two callers at once get different batches. Send the messages after the
    commit, and `put_back` those that could not be sent.
    """
    window, most = queue_room(connection, run_id, window)
    if most == 0:
        return []
    parameters = {"of_run": run_id, "window": window, "most": most}
    taken = connection.execute(_TAKE, parameters).all()
    publishes = bool(taken) and taken[0][-1] in PUBLISHES
    wave = wave_of_run(connection, run_id) if publishes else None
    return [_to_enqueue(run_id, *row, wave=wave) for row in sorted(taken)]


def queue_room(connection: sa.Connection, run_id: int, window: int) -> tuple[int, int | None]:
    """How far ahead a run's queue reaches now, and how many batches may join it (None: any).

    The run's own `batch_window` goes before the given one. With a `concurrency` no more batches are
    in the queue and at work together; with a `max_rate` one waits for its turn and no more.
    """
    run = connection.execute(_ROOM, {"of_run": run_id}).one_or_none()
    if run is None:
        return window, 0
    limits = (run.options.get(name) for name in ("batch_window", "concurrency", "max_rate"))
    own_window, concurrency, max_rate = limits
    window = own_window or window
    if concurrency is None and max_rate is None:
        return window, None
    queued, at_work = _in_flight(connection, run_id)
    room = window if concurrency is None else max(0, concurrency - queued - at_work)
    return window, room if max_rate is None else min(room, max(0, 1 - queued))


def _in_flight(connection: sa.Connection, run_id: int) -> tuple[int, int]:
    """How many batches wait in the queue, and how many a live worker has."""
    queued = sa.and_(batches.c.state == "pending", batches.c.enqueued_at.is_not(None))
    running = batches.c.state == "running"
    at_work = sa.and_(running, batches.c.lease_until > sa.func.now())
    count = sa.func.count
    row = connection.execute(
        sa.select(count().filter(queued), count().filter(at_work))
        .select_from(batches)
        # As the index of batches in flight says it.
        .where(batches.c.run_id == run_id, sa.or_(running, queued))
    ).one()
    return row[0], row[1]


def _to_enqueue(
    run_id: int,
    number: int,
    after: str | None,
    through: str | None,
    first: str | None,
    count: int,
    kind: RunKind,
    *,
    wave: WaveRef | None,
) -> ToEnqueue:
    ref = BatchRef(run_id, number)
    of = f"{wave}, " if wave else ""
    if through is None:
        return ToEnqueue(ref, f"{of}{counted(count, 'bot')} from {first}", kind)
    return ToEnqueue(ref, f"{of}{f'after {after} ' if after else ''}through {through}", kind)


def put_back(connection: sa.Connection, refs: Collection[BatchRef]) -> int:
    """Count the messages of these batches as not sent, so that the next `take` takes them again.

    Returns how many are pending; the others are claimed or over, and left alone.
    """
    return connection.execute(
        sa.update(batches)
        .where(
            sa.tuple_(batches.c.run_id, batches.c.number).in_(
                [(ref.run_id, ref.number) for ref in refs]
            ),
            batches.c.state == "pending",
        )
        .values(enqueued_at=None)
    ).rowcount


def put_back_all(connection: sa.Connection, run_id: int) -> None:
    """Count no message of a run as sent: those sent while it was paused have been dropped."""
    connection.execute(
        sa.update(batches)
        .where(
            batches.c.run_id == run_id,
            batches.c.state == "pending",
            batches.c.enqueued_at.is_not(None),
        )
        .values(enqueued_at=None)
    )


def any_pending(connection: sa.Connection, run_id: int) -> BatchRef | None:
    """A batch of a running run that no worker has claimed, enqueued or not; None if none is left.

    For working without the queue. Two callers at once may get the same: one finds it claimed.
    """
    query = (
        sa.select(batches.c.number)
        .join(runs, runs.c.run_id == batches.c.run_id)
        .where(batches.c.run_id == run_id, batches.c.state == "pending", runs.c.state == "running")
        .order_by(batches.c.number)
        .limit(1)
    )
    number = connection.scalar(query)
    return None if number is None else BatchRef(run_id, number)
