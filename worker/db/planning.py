"""Planning: a run's bots in batches, written by statements that select them, never fetched."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import sqlalchemy as sa

from worker.db.platform_tables import bots
from worker.db.tables import batches, ledger


class Planned(msgspec.Struct, frozen=True):
    """What one step of planning added: how many batches and bots, through which bot."""

    batches: int = 0
    bots: int = 0
    through: str | None = None


def plan_ranges(
    connection: sa.Connection,
    run_id: int,
    *,
    after: str | None,
    first_number: int,
    batch_size: int,
    max_batches: int,
) -> Planned:
    """Add up to `max_batches` batches of `batch_size` bots that follow `after` in key order.

    One statement that walks the key's index; the fleet never leaves the database. Every bot that
    exists now falls into exactly one range; a bot that appears later falls into the range of its
    key, or behind the last one (then a later run takes it). A row without a bot_id is no bot.
    """
    page = (
        sa.select(bots.c.bot_id)
        .where(bots.c.bot_id.is_not(None))
        .order_by(bots.c.bot_id)
        .limit(batch_size * max_batches)
    )
    if after is not None:
        page = page.where(bots.c.bot_id > after)
    slices = _slices(page, batch_size, sa.func.max)
    previous = sa.func.lag(slices.c.last, 1, sa.cast(after, sa.Text)).over(order_by=slices.c.slice)
    rows = sa.select(
        sa.literal(run_id), first_number + slices.c.slice, previous, slices.c.last, slices.c.bots
    )
    columns = ("run_id", "number", "after_bot_id", "through_bot_id", "bot_count")
    added = connection.execute(
        sa.insert(batches)
        .from_select(columns, rows)
        .returning(batches.c.number, batches.c.through_bot_id, batches.c.bot_count)
    ).all()
    if not added:
        return Planned(through=after)
    return Planned(len(added), sum(row.bot_count for row in added), max(added)[1])


def plan_listed(
    connection: sa.Connection, run_id: int, bot_ids: Sequence[str], size: int
) -> Planned:
    """Add batches over the bots listed, every one in exactly one batch, however often it is listed."""
    listed = sa.select(
        sa.func.unnest(sa.cast(list(bot_ids), sa.ARRAY(sa.Text))).label("bot_id")
    ).distinct()
    return plan_selected(connection, run_id, listed, size)


def plan_selected(
    connection: sa.Connection, run_id: int, wanted: sa.Select[Any], size: int
) -> Planned:
    """Add batches over the bots that a query selects by their `bot_id`, each once, in key order."""
    slices = _slices(wanted, size, sa.func.array_agg)
    rows = sa.select(sa.literal(run_id), 1 + slices.c.slice, slices.c.last, slices.c.bots)
    columns = ("run_id", "number", "bot_ids", "bot_count")
    added = connection.execute(
        sa.insert(batches).from_select(columns, rows).returning(batches.c.bot_count)
    ).all()
    return Planned(len(added), sum(row.bot_count for row in added))


def plan_limit(connection: sa.Connection, run_id: int, limit: int, size: int) -> Planned:
    """Add batches over the first `limit` bots, in key order, that have a workflow."""
    first = (
        sa.select(sa.cast(bots.c.bot_id, sa.Text).label("bot_id"))
        .where(bots.c.bot_id.is_not(None), bots.c.workflow.is_not(None))
        .order_by(bots.c.bot_id)
        .limit(limit)
    )
    return plan_selected(connection, run_id, first, size)


def plan_retry(
    connection: sa.Connection,
    run_id: int,
    parent_run_id: int,
    size: int,
    *,
    code: str | None,
    bot_ids: Sequence[str] | None,
) -> Planned:
    """Add batches over the bots that failed in the parent run, selected in the database.

    With neither a code nor bots given, batches that failed as a whole are taken over too: their
    bots have no outcome yet.
    """
    failed = sa.select(ledger.c.bot_id).where(
        ledger.c.run_id == parent_run_id, ledger.c.outcome == "failed"
    )
    if code is not None:
        failed = failed.where(ledger.c.code == code)
    if bot_ids:
        failed = failed.where(ledger.c.bot_id.in_(bot_ids))
    planned = plan_selected(connection, run_id, failed, size)
    if code is not None or bot_ids:
        return planned
    copied = _plan_copies(connection, run_id, parent_run_id, planned.batches)
    return Planned(planned.batches + copied.batches, planned.bots + copied.bots)


def plan_same(connection: sa.Connection, run_id: int, parent_run_id: int) -> Planned:
    """Add the batches of another run again, over the same slices."""
    return _plan_copies(connection, run_id, parent_run_id, 0, only_failed=False)


def _plan_copies(
    connection: sa.Connection,
    run_id: int,
    parent_run_id: int,
    behind: int,
    *,
    only_failed: bool = True,
) -> Planned:
    number = behind + sa.func.row_number().over(order_by=batches.c.number)
    columns = ("run_id", "number", "after_bot_id", "through_bot_id", "bot_ids", "bot_count")
    rows = sa.select(
        sa.literal(run_id),
        number,
        batches.c.after_bot_id,
        batches.c.through_bot_id,
        batches.c.bot_ids,
        batches.c.bot_count,
    ).where(batches.c.run_id == parent_run_id)
    if only_failed:
        rows = rows.where(batches.c.state == "failed")
    added = connection.execute(
        sa.insert(batches).from_select(columns, rows).returning(batches.c.bot_count)
    ).all()
    return Planned(len(added), sum(row.bot_count for row in added))


def _slices(wanted: sa.Select[Any], size: int, gather: Any) -> sa.Subquery:
    """`wanted` cut into slices of `size` in key order: (slice, last = gather(bot_id), bots)."""
    page = wanted.subquery("page")
    place = sa.func.row_number().over(order_by=page.c.bot_id) - 1
    numbered = sa.select(
        sa.cast(page.c.bot_id, sa.Text).label("bot_id"), (place // size).label("slice")
    ).subquery("numbered")
    gathered = gather(numbered.c.bot_id)
    return (
        sa.select(
            numbered.c.slice,
            gathered.label("last"),
            sa.func.count().label("bots"),
        )
        .group_by(numbered.c.slice)
        .subquery("slices")
    )


def missing_bots(connection: sa.Connection, bot_ids: Sequence[str]) -> list[str]:
    """Which of these ids are no bots, in the order given."""
    unnested = sa.func.unnest(sa.cast(list(bot_ids), sa.ARRAY(sa.Text)))
    listed = unnested.table_valued(
        "bot_id", with_ordinality="place", name="listed"
    ).render_derived()
    known = sa.select(bots.c.bot_id).where(bots.c.bot_id == listed.c.bot_id).exists()
    query = sa.select(listed.c.bot_id).where(~known).order_by(listed.c.place)
    return list(connection.scalars(query))
