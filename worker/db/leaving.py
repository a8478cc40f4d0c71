"""What a claimed batch leaves undone: made batches of their own, in the transaction that ends it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from psycopg import sql

from worker.db.batches import Batch
from worker.db.bots import which
from worker.db.bulk import driver
from worker.db.tables import batches, runs


def leave(
    connection: sa.Connection,
    batch: Batch,
    *,
    done: Sequence[str],
    left: Sequence[str],
    through: str | None,
) -> list[int]:
    """Take from a claimed batch the bots `left`, and those after `through`; the new batches' numbers.

    `done` are its bots that have an outcome, `through` is the last one that was looked at (None: all
    were). Every bot of the slice stays in exactly one batch: the claimed one keeps what is done, as
    a list where it gave away bots from its middle. The new ones inherit its losses, not its faults.
    """
    slices: list[dict[str, Any]] = []
    if through is not None:
        slices += _tail(connection, batch, through)
    if left:
        slices.append({"bot_ids": list(left), "bot_count": len(left)})
    if not slices:
        return []
    first = _next_numbers(connection, batch.run_id, len(slices))
    connection.execute(
        sa.update(batches)
        .where(batches.c.run_id == batch.run_id, batches.c.number == batch.number)
        .values(**_kept(batch, done, through, as_list=bool(left)))
    )
    losses = (
        sa.select(batches.c.losses)
        .where(batches.c.run_id == batch.run_id, batches.c.number == batch.number)
        .scalar_subquery()
    )
    numbers = list(range(first, first + len(slices)))
    for number, its in zip(numbers, slices, strict=True):
        connection.execute(
            sa.insert(batches).values(run_id=batch.run_id, number=number, losses=losses, **its)
        )
    return numbers


def _tail(connection: sa.Connection, batch: Batch, through: str) -> list[dict[str, Any]]:
    """The bots after `through`, as a slice; none if no bot is there."""
    condition, parameters = which(through, batch.through_bot_id, batch.bot_ids)
    query = sql.SQL("SELECT b.bot_id::varchar FROM bots b WHERE {} ORDER BY b.bot_id")
    with driver(connection).cursor() as cursor:
        cursor.execute(query.format(condition), parameters)
        ids = [bot_id for (bot_id,) in cursor.fetchall()]
    if not ids:
        return []
    if batch.bot_ids is not None:
        return [{"bot_ids": ids, "bot_count": len(ids)}]
    return [
        {
            "after_bot_id": through,
            "through_bot_id": batch.through_bot_id,
            "bot_count": len(ids),
        }
    ]


def _kept(
    batch: Batch, done: Sequence[str], through: str | None, *, as_list: bool
) -> dict[str, Any]:
    count = {"bot_count": len(done)}
    if as_list or batch.bot_ids is not None:
        return {"after_bot_id": None, "through_bot_id": None, "bot_ids": list(done), **count}
    return {"through_bot_id": through, **count}


def _next_numbers(connection: sa.Connection, run_id: int, count: int) -> int:
    last: int = connection.execute(
        sa.update(runs)
        .where(runs.c.run_id == run_id)
        .values(batch_count=runs.c.batch_count + count)
        .returning(runs.c.batch_count)
    ).scalar_one()
    return last - count + 1
