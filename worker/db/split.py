"""Cut a batch in two, so that every bot of it stays in exactly one batch."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from worker.core.policy.batch_ref import BatchRef
from worker.db.platform_tables import bots
from worker.db.tables import batches, runs


def split(connection: sa.Connection, ref: BatchRef, *, first: int | None = None) -> BatchRef | None:
    """Cut a pending batch in two; returns the new one, which holds the later bots.

    The batch keeps its number and its `first` bots (default: half, rounded up), so that a message
    that names it stays right; every bot of the slice stays in exactly one batch. The new one
    follows the run's last number and inherits losses and faults. None, and nothing changes, where
    the batch is not pending (any more), or `first` leaves nothing for one of the two.
    """
    row = connection.execute(
        sa.select(batches).where(*_named(ref), batches.c.state == "pending").with_for_update()
    ).one_or_none()
    if row is None:
        return None
    count = len(row.bot_ids) if row.bot_ids is not None else _count_range(connection, row)
    kept = (count + 1) // 2 if first is None else first
    if not 0 < kept < count:
        return None
    one, other = _halves(connection, row, kept)
    connection.execute(sa.update(batches).where(*_named(ref)).values(**one, bot_count=kept))
    added: int = connection.execute(
        sa.update(runs)
        .where(runs.c.run_id == ref.run_id)
        .values(batch_count=runs.c.batch_count + 1)
        .returning(runs.c.batch_count)
    ).scalar_one()
    connection.execute(
        sa.insert(batches).values(
            run_id=ref.run_id,
            number=added,
            **other,
            bot_count=count - kept,
            losses=row.losses,
            faults=row.faults,
        )
    )
    return BatchRef(ref.run_id, added)


def _named(ref: BatchRef) -> tuple[sa.ColumnElement[bool], ...]:
    return batches.c.run_id == ref.run_id, batches.c.number == ref.number


def _halves(
    connection: sa.Connection, row: sa.Row[Any], kept: int
) -> tuple[dict[str, Any], dict[str, Any]]:
    if row.bot_ids is not None:
        return {"bot_ids": row.bot_ids[:kept]}, {"bot_ids": row.bot_ids[kept:]}
    cut = connection.scalar(
        sa.select(sa.cast(bots.c.bot_id, sa.Text))
        .where(_in_range(row))
        .order_by(bots.c.bot_id)
        .offset(kept - 1)
        .limit(1)
    )
    return {"through_bot_id": cut}, {"after_bot_id": cut, "through_bot_id": row.through_bot_id}


def _count_range(connection: sa.Connection, row: sa.Row[Any]) -> int:
    return connection.scalar(sa.select(sa.func.count()).where(_in_range(row))) or 0


def _in_range(row: sa.Row[Any]) -> sa.ColumnElement[bool]:
    after, through = row.after_bot_id, row.through_bot_id
    until: sa.ColumnElement[bool] = bots.c.bot_id <= through
    return until if after is None else sa.and_(bots.c.bot_id > after, until)
