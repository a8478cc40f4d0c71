"""Batches: planning them, publishing them in a window, claiming and ending them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import sqlalchemy as sa

from worker.core.parity.overhead import Overhead
from worker.core.policy.progress import Counts
from worker.core.policy.states import BatchState, RunKind
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
    bot_count: int
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
    return _plan_lists(connection, run_id, listed, size)


def plan_limit(connection: sa.Connection, run_id: int, limit: int, size: int) -> Planned:
    """Add batches over the first `limit` bots, in key order, that have a workflow."""
    first = (
        sa.select(sa.cast(bots.c.bot_id, sa.Text).label("bot_id"))
        .where(bots.c.bot_id.is_not(None), bots.c.workflow.is_not(None))
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


def split(
    connection: sa.Connection, run_id: int, number: int, *, first: int | None = None
) -> int | None:
    """Cut a pending batch in two; returns the number of the new one, which holds the later bots.

    The batch keeps its number and its `first` bots (default: half, rounded up), so that a message
    that names it stays right; every bot of the slice stays in exactly one batch. The new one
    follows the run's last number and inherits losses and faults. None, and nothing changes, where
    the batch is not pending (any more) or `first` leaves nothing for one of the two.
    """
    row = connection.execute(
        sa.select(batches)
        .where(batches.c.run_id == run_id, batches.c.number == number, batches.c.state == "pending")
        .with_for_update()
    ).one_or_none()
    if row is None:
        return None
    count = len(row.bot_ids) if row.bot_ids is not None else _count_range(connection, row)
    kept = (count + 1) // 2 if first is None else first
    if not 0 < kept < count:
        return None
    one, other = _halves(connection, row, kept)
    connection.execute(
        sa.update(batches)
        .where(batches.c.run_id == run_id, batches.c.number == number)
        .values(**one, bot_count=kept)
    )
    added: int | None = connection.scalar(
        sa.update(runs)
        .where(runs.c.run_id == run_id)
        .values(batch_count=runs.c.batch_count + 1)
        .returning(runs.c.batch_count)
    )
    connection.execute(
        sa.insert(batches).values(
            run_id=run_id,
            number=added,
            **other,
            bot_count=count - kept,
            losses=row.losses,
            faults=row.faults,
        )
    )
    return added


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
    messages into Redis at once. Nothing does while the run is paused, over, or held by a batch that
    waits, and no more than the run's own limits let through (`queue_room`). Two publishers at once
    get different batches. Send them after the commit, and `unpublish` those that could not be sent.
    """
    window, most = queue_room(connection, run_id, window)
    if most == 0:
        return []
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
        .order_by(batches.c.number)
        .limit(most)
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


def queue_room(connection: sa.Connection, run_id: int, window: int) -> tuple[int, int | None]:
    """How far ahead a run's queue reaches now, and how many batches may join it (None: any).

    The run's own `batch_window` goes before the given one. With a `concurrency` no more batches are
    in the queue and at work together; with a `max_rate` one waits for its turn and no more.
    """
    held = sa.func.coalesce(runs.c.held_until > sa.func.now(), sa.false())
    run = connection.execute(
        sa.select(runs.c.options).where(
            runs.c.run_id == run_id, runs.c.state == "running", sa.not_(held)
        )
    ).one_or_none()
    if run is None:
        return window, 0
    limits = (run.options.get(name) for name in ("batch_window", "concurrency", "max_rate"))
    own_window, concurrency, max_rate = limits
    window = own_window or window
    if concurrency is None and max_rate is None:
        return window, None
    queued, at_work = _in_flight(connection, run_id, window)
    room = window if concurrency is None else max(0, concurrency - queued - at_work)
    return window, room if max_rate is None else min(room, max(0, 1 - queued))


def _in_flight(connection: sa.Connection, run_id: int, window: int) -> tuple[int, int]:
    """How many batches wait in the queue, and how many a live worker has."""
    first = (
        sa.select(batches.c.state, batches.c.published_at, batches.c.lease_until)
        .where(batches.c.run_id == run_id, batches.c.state.in_(["pending", "running"]))
        .order_by(batches.c.number)
        .limit(window)
        .subquery()
    )
    queued = sa.and_(first.c.state == "pending", first.c.published_at.is_not(None))
    at_work = sa.and_(first.c.state == "running", first.c.lease_until > sa.func.now())
    count = sa.func.count
    row = connection.execute(sa.select(count().filter(queued), count().filter(at_work))).one()
    return row[0], row[1]


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

    None where there is nothing to do: it is done, another worker has claimed it, or the run does
    not run. A batch that its worker left behind is somebody's until that is known: until the pool
    says that the worker died, or the lease runs out (`worker.steps.rescue`). `worker` names one
    process; it may claim again what it has claimed.
    """
    free = (
        sa.select(batches.c.number)
        .join(runs, runs.c.run_id == batches.c.run_id)
        .where(
            batches.c.run_id == run_id,
            batches.c.number == number,
            sa.or_(
                batches.c.state == "pending",
                sa.and_(batches.c.state == "running", batches.c.worker == worker),
            ),
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
            lease_until=_lease(lease_s),
        )
        .returning(
            batches.c.after_bot_id,
            batches.c.through_bot_id,
            batches.c.bot_ids,
            batches.c.bot_count,
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
        bot_count=row.bot_count,
        attempt=row.attempt,
        dry_run=row.dry_run,
        options=row.options,
    )


def hold(connection: sa.Connection, batch: Batch) -> bool:
    """Keep every other worker from doing this batch until the transaction ends.

    False where the claim is no longer the last one, or the batch has ended. Waits, for as long as
    `lock_timeout` allows, for a worker that was given up and is still at it.

    An advisory lock, not the row's: the lease in the row is renewed meanwhile, by another
    connection (`renew`). It ends with the transaction, so that poolers may come between.
    """
    connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_key(batch.run_id, batch.number))))
    return connection.scalar(sa.select(sa.exists().where(*_claimed(batch)))) or False


def is_held(connection: sa.Connection, run_id: int, number: int) -> bool:
    """Whether a worker's transaction is doing the batch this moment; if not, none can begin now."""
    free = connection.scalar(sa.select(sa.func.pg_try_advisory_xact_lock(_key(run_id, number))))
    return not free


def renew(connection: sa.Connection, batch: Batch, *, lease_s: int) -> bool:
    """Let the lease end `lease_s` from now; False where the claim is no longer the last one."""
    return bool(
        connection.execute(
            sa.update(batches).where(*_claimed(batch)).values(lease_until=_lease(lease_s))
        ).rowcount
    )


def _claimed(batch: Batch) -> tuple[sa.ColumnElement[bool], ...]:
    return _attempted(batch.run_id, batch.number, batch.attempt)


def _attempted(run_id: int, number: int, attempt: int) -> tuple[sa.ColumnElement[bool], ...]:
    """The batch while this claim of it stands: whoever was given up can change nothing any more."""
    return (
        batches.c.run_id == run_id,
        batches.c.number == number,
        batches.c.state == "running",
        batches.c.attempt == attempt,
    )


def _lease(lease_s: int) -> sa.ColumnElement[Any]:
    return sa.func.now() + sa.cast(f"{lease_s} seconds", sa.Interval)


def _key(run_id: int, number: int) -> sa.ColumnElement[Any]:
    """A number for the advisory lock of a batch that nobody else's locks are likely to have."""
    return sa.func.hashtextextended(f"flowshift.batches {run_id} {number}", 0)


def complete(
    connection: sa.Connection,
    run_id: int,
    number: int,
    *,
    attempt: int,
    counts: Counts,
    codes: dict[str, int],
    overhead: Overhead,
    duration_ms: int,
) -> bool:
    """Take a held batch to `done`, with its counts: part of the transaction that it counts.

    False where `attempt` is no longer the last claim: the transaction must be rolled back.
    """
    return bool(
        connection.execute(
            sa.update(batches)
            .where(*_attempted(run_id, number, attempt))
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
        ).rowcount
    )


def hand_back(connection: sa.Connection, run_id: int, number: int, *, worker: str) -> bool:
    """Give back what `worker` has claimed, for whoever publishes next: it stops, in good order."""
    return bool(
        connection.execute(
            sa.update(batches)
            .where(
                batches.c.run_id == run_id,
                batches.c.number == number,
                batches.c.state == "running",
                batches.c.worker == worker,
            )
            .values(state="pending", lease_until=None, published_at=None)
        ).rowcount
    )


def put_off(
    connection: sa.Connection, run_id: int, number: int, *, worker: str, error: str, faults_max: int
) -> BatchState | None:
    """Give back a batch that could not be done, a server being away; count it as a fault.

    Returns its state: `pending`, or `failed` where this was more than `faults_max` faults; None
    where it is over, or another worker's, anyway.
    """
    faults = batches.c.faults + 1
    over = faults > faults_max
    state: BatchState | None = connection.scalar(
        sa.update(batches)
        .where(
            batches.c.run_id == run_id,
            batches.c.number == number,
            sa.or_(
                batches.c.state == "pending",
                sa.and_(batches.c.state == "running", batches.c.worker == worker),
            ),
        )
        .values(
            state=sa.case((over, "failed"), else_="pending"),
            finished_at=sa.case((over, sa.func.now())),
            lease_until=None,
            published_at=None,
            faults=faults,
            error=sa.case(
                (over, f"tried {faults_max + 1} times: {error}"[:2000]), else_=error[:2000]
            ),
        )
        .returning(batches.c.state)
    )
    return state


def fail(connection: sa.Connection, run_id: int, number: int, error: str) -> bool:
    """Take a batch that cannot be done to `failed`; says whether this call did it."""
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
