"""Batches: planning them, publishing them in a window, claiming and ending them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import sqlalchemy as sa

from worker.core.overhead import Overhead
from worker.core.progress import Counts
from worker.core.states import RunKind
from worker.db.tables import batches, bots, ledger, runs


class Batch(msgspec.Struct, frozen=True, kw_only=True):
    """A slice of a run that a worker has claimed.

    Either every bot after `after_bot_id` (None: from the first) through `through_bot_id`, or the
    bots in `bot_ids`.
    """

    run_id: int
    request_id: str
    number: int
    after_bot_id: str | None
    through_bot_id: str | None
    bot_ids: tuple[str, ...] | None
    attempt: int
    dry_run: bool
    options: dict[str, Any]


class Planned(msgspec.Struct, frozen=True):
    """What one step of planning added: how many batches and bots, through which bot."""

    batches: int = 0
    bots: int = 0
    through: str | None = None


class ToPublish(msgspec.Struct, frozen=True):
    """A batch that goes into the queue; `slice` says for a person which bots it holds."""

    number: int
    slice: str
    kind: RunKind


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
    key, or behind the last one (then a later run takes it).
    """
    page = sa.select(bots.c.bot_id).order_by(bots.c.bot_id).limit(batch_size * max_batches)
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
    return _plan_lists(connection, run_id, listed, size)


def plan_limit(connection: sa.Connection, run_id: int, limit: int, size: int) -> Planned:
    """Add batches over the first `limit` bots, in key order, that have a workflow."""
    first = (
        sa.select(sa.cast(bots.c.bot_id, sa.Text).label("bot_id"))
        .where(bots.c.workflow.is_not(None))
        .order_by(bots.c.bot_id)
        .limit(limit)
    )
    return _plan_lists(connection, run_id, first, size)


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
    planned = _plan_lists(connection, run_id, failed, size)
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


def _plan_lists(
    connection: sa.Connection, run_id: int, wanted: sa.Select[Any], size: int
) -> Planned:
    slices = _slices(wanted, size, sa.func.array_agg)
    rows = sa.select(sa.literal(run_id), 1 + slices.c.slice, slices.c.last, slices.c.bots)
    columns = ("run_id", "number", "bot_ids", "bot_count")
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


def take_to_publish(connection: sa.Connection, run_id: int, window: int) -> list[ToPublish]:
    """Mark as published what should be in the queue and is not, and return it, in order.

    The first `window` batches that are not over belong there: a fleet of any size puts no more
    messages into Redis at once. Two publishers at once get different batches. Send them after the
    commit, and `unpublish` those that could not be sent.
    """
    in_window = (
        sa.select(batches.c.number)
        .where(batches.c.run_id == run_id, batches.c.state.in_(["pending", "running"]))
        .order_by(batches.c.number)
        .limit(window)
        .scalar_subquery()
    )
    # An array, looked up in the key's index: as a join it is done again for every waiting batch.
    chosen = (
        sa.select(batches.c.number)
        .where(
            batches.c.run_id == run_id,
            batches.c.state == "pending",
            batches.c.published_at.is_(None),
            batches.c.number == sa.func.any(sa.func.array(in_window)),
        )
        .with_for_update(skip_locked=True)
        .cte("chosen")
    )
    kind = sa.select(runs.c.kind).where(runs.c.run_id == run_id).scalar_subquery()
    taken = connection.execute(
        sa.update(batches)
        .where(batches.c.run_id == run_id, batches.c.number == chosen.c.number)
        .values(published_at=sa.func.now())
        .returning(
            batches.c.number,
            batches.c.after_bot_id,
            batches.c.through_bot_id,
            batches.c.bot_ids[1],
            batches.c.bot_count,
            kind,
        )
    ).all()
    return [_to_publish(*row) for row in sorted(taken)]


def _to_publish(
    number: int,
    after: str | None,
    through: str | None,
    first: str | None,
    count: int,
    kind: RunKind,
) -> ToPublish:
    if through is None:
        return ToPublish(number, f"{count} bots from {first}", kind)
    return ToPublish(number, f"{f'after {after} ' if after else ''}through {through}", kind)


def unpublish(connection: sa.Connection, run_id: int, numbers: Sequence[int]) -> None:
    """Give back batches that could not be sent, for whoever publishes next."""
    connection.execute(
        sa.update(batches)
        .where(
            batches.c.run_id == run_id,
            batches.c.number.in_(numbers),
            batches.c.state == "pending",
        )
        .values(published_at=None)
    )


def any_pending(connection: sa.Connection, run_id: int) -> int | None:
    """A batch of a running run that nobody has claimed, published or not; None where none is left.

    For doing without the queue. Two that ask at once may get the same: one will find it claimed.
    """
    query = (
        sa.select(batches.c.number)
        .join(runs, runs.c.run_id == batches.c.run_id)
        .where(batches.c.run_id == run_id, batches.c.state == "pending", runs.c.state == "running")
        .order_by(batches.c.number)
        .limit(1)
    )
    return connection.scalar(query)


def claim(
    connection: sa.Connection,
    run_id: int,
    number: int,
    *,
    kind: RunKind,
    worker: str,
    lease_s: int,
) -> Batch | None:
    """Claim a batch of a running run of this kind, and count the attempt.

    None where there is nothing to do: it is done, another worker holds it this moment, or the run
    does not run. A batch that its worker left behind can be claimed again at once.
    """
    free = (
        sa.select(batches.c.number)
        .join(runs, runs.c.run_id == batches.c.run_id)
        .where(
            batches.c.run_id == run_id,
            batches.c.number == number,
            batches.c.state.in_(["pending", "running"]),
            runs.c.state == "running",
            runs.c.kind == kind,
        )
        .with_for_update(skip_locked=True, of=batches)
        .cte("free")
    )
    row = connection.execute(
        sa.update(batches)
        .where(
            batches.c.run_id == run_id,
            batches.c.number == free.c.number,
            runs.c.run_id == batches.c.run_id,
        )
        .values(
            state="running",
            attempt=batches.c.attempt + 1,
            worker=worker,
            started_at=sa.func.coalesce(batches.c.started_at, sa.func.now()),
            lease_until=sa.func.now() + sa.cast(f"{lease_s} seconds", sa.Interval),
        )
        .returning(
            batches.c.after_bot_id,
            batches.c.through_bot_id,
            batches.c.bot_ids,
            batches.c.attempt,
            runs.c.request_id,
            runs.c.dry_run,
            runs.c.options,
        )
    ).one_or_none()
    if row is None:
        return None
    return Batch(
        run_id=run_id,
        request_id=row.request_id,
        number=number,
        after_bot_id=row.after_bot_id,
        through_bot_id=row.through_bot_id,
        bot_ids=None if row.bot_ids is None else tuple(row.bot_ids),
        attempt=row.attempt,
        dry_run=row.dry_run,
        options=row.options,
    )


def hold(connection: sa.Connection, run_id: int, number: int) -> bool:
    """Lock a claimed batch until the transaction ends; False where it has ended meanwhile.

    This lock, not the claim, is what lets a batch delivered twice act once: whoever comes second
    waits, and finds the batch done. It must wait: whoever has the row locked may only be asking for
    it, and if both stepped back nobody would do the batch.
    """
    query = (
        sa.select(batches.c.number)
        .where(batches.c.run_id == run_id, batches.c.number == number, batches.c.state == "running")
        .with_for_update()
    )
    return connection.execute(query).one_or_none() is not None


def complete(
    connection: sa.Connection,
    run_id: int,
    number: int,
    *,
    counts: Counts,
    codes: dict[str, int],
    overhead: Overhead,
    duration_ms: int,
) -> None:
    """Take a held batch to `done`, with its counts: part of the transaction that it counts."""
    connection.execute(
        sa.update(batches)
        .where(batches.c.run_id == run_id, batches.c.number == number)
        .values(
            state="done",
            finished_at=sa.func.clock_timestamp(),
            lease_until=None,
            converted=counts.converted,
            unchanged=counts.unchanged,
            skipped=counts.skipped,
            failed=counts.failed,
            validated=counts.validated,
            warnings=counts.warnings,
            codes=codes,
            overhead=msgspec.to_builtins(overhead, str_keys=True) if overhead.counts else {},
            duration_ms=duration_ms,
            error=None,
        )
    )


def fail(connection: sa.Connection, run_id: int, number: int, error: str) -> bool:
    """Take a batch that was tried as often as allowed to `failed`; says whether this call did it."""
    return bool(
        connection.execute(
            sa.update(batches)
            .where(
                batches.c.run_id == run_id,
                batches.c.number == number,
                batches.c.state.in_(["pending", "running"]),
            )
            .values(state="failed", finished_at=sa.func.now(), lease_until=None, error=error[:2000])
        ).rowcount
    )
