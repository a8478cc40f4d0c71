"""Work whose message was lost: batches and plans that are in no queue though they count as enqueued.

By the database's times alone, whatever the clocks of workers say.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any, Final

import sqlalchemy as sa

from worker.core.policy.run_kinds import QUEUES, QueueName, kinds_in
from worker.db.expressions import seconds
from worker.db.tables import batches, runs

MESSAGE_GRACE_S = 10
"""A message that has gone this long without its batch being claimed may be lost."""

LAST_ENDED: Final = 100
"""Batches of a run that ended last, of which is asked when they were enqueued; older ones came before."""


def put_back_lost(
    connection: sa.Connection, *, empty: Collection[QueueName]
) -> dict[int, list[int]]:
    """Give back pending batches whose message is lost; returns their numbers by run, in order.

    A message is lost if it is `MESSAGE_GRACE_S` old and its queue is empty, or if a batch that was
    enqueued so much later in the same queue has been claimed: a queue keeps its order. So a deep queue,
    or one that no worker takes from, is left alone however old its messages are. A mistake costs one
    message.
    """
    given_back: dict[int, list[int]] = {}
    for queue in QUEUES:
        for run_id, number in sorted(_put_back_lost(connection, queue, is_empty=queue in empty)):
            given_back.setdefault(run_id, []).append(number)
    return given_back


def _put_back_lost(
    connection: sa.Connection, queue: QueueName, *, is_empty: bool
) -> Sequence[tuple[int, int]]:
    overdue = batches.c.enqueued_at < _ago(MESSAGE_GRACE_S)
    if not is_empty:
        overdue &= batches.c.enqueued_at < _delivered(queue)
    running = sa.select(runs.c.run_id).where(
        runs.c.state == "running", runs.c.kind.in_(kinds_in(queue))
    )
    # An array: runs are not looked up for each batch, nor batches of runs that are over.
    its_runs = sa.func.array(running.scalar_subquery())
    found = connection.execute(
        sa.update(batches)
        .where(
            batches.c.run_id == sa.func.any(its_runs),
            batches.c.state == "pending",
            overdue,
        )
        .values(enqueued_at=None)
        .returning(batches.c.run_id, batches.c.number)
    )
    return [(run_id, number) for run_id, number in found]


def take_to_plan(connection: sa.Connection, *, empty: Collection[QueueName]) -> list[int]:
    """Runs whose planning was not finished, counted as enqueued now; send them after the commit.

    By the same rule as `put_back_lost`; any worker plans. A run that is being planned this moment is
    passed over.
    """
    overdue = runs.c.moved_at < _ago(MESSAGE_GRACE_S)
    if "convert" not in empty:
        overdue &= runs.c.moved_at < _delivered("convert")
    left = (
        sa.select(runs.c.run_id)
        .where(runs.c.state == "planning", overdue)
        .with_for_update(skip_locked=True)
        .cte("abandoned")
    )
    taken = connection.scalars(
        sa.update(runs)
        .where(runs.c.run_id == left.c.run_id)
        .values(moved_at=sa.func.now())
        .returning(runs.c.run_id)
    )
    return sorted(taken)


def _delivered(queue: QueueName) -> sa.ScalarSelect[Any]:
    """When the newest message of a queue that has surely been delivered was enqueued, less the grace.

    Among those at work and the last that ended: not all batches of a run are read for it. If a newer one
    was delivered that ended before these, a lost message is found a little later.
    """
    its_run = runs.alias("its_run")
    at_work = sa.select(batches.c.enqueued_at).where(
        batches.c.run_id == its_run.c.run_id, batches.c.state == "running"
    )
    ended = (
        sa.select(batches.c.enqueued_at)
        .where(batches.c.run_id == its_run.c.run_id, batches.c.finished_at.is_not(None))
        .order_by(batches.c.finished_at.desc())
        .limit(LAST_ENDED)
    )
    sent = sa.union_all(at_work.correlate(its_run), ended.correlate(its_run).subquery().select())
    delivered = sent.lateral("delivered")
    return (
        sa.select(sa.func.max(delivered.c.enqueued_at) - seconds(MESSAGE_GRACE_S))
        .select_from(its_run.join(delivered, sa.true()))
        .where(its_run.c.state == "running", its_run.c.kind.in_(kinds_in(queue)))
        .scalar_subquery()
    )


def _ago(age_s: float) -> sa.ColumnElement[Any]:
    return sa.func.now() - seconds(age_s)
