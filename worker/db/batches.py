"""A batch's life in the database: claimed with a lease, locked for work, ended once or given back."""

from __future__ import annotations

from typing import Any

import msgspec
import sqlalchemy as sa

from worker.core.parity.overhead import Overhead
from worker.core.policy.batch_ref import BatchRef
from worker.core.policy.progress import Counts
from worker.core.policy.run_kinds import PUBLISHES
from worker.core.policy.states import BatchState, RunKind
from worker.db.expressions import seconds
from worker.db.measuring import totals
from worker.db.rights import MAY_PUBLISH
from worker.db.row_ids import Source
from worker.db.runs import RunOptions
from worker.db.tables import batches, runs
from worker.errors import TransientError


class Batch(msgspec.Struct, frozen=True, kw_only=True):
    """A slice of a run that a worker has claimed.

    Either every bot after `after_bot_id` (None: from the first) through `through_bot_id`, or the
    bots in `bot_ids`.
    """

    ref: BatchRef
    kind: RunKind
    request_id: str
    after_bot_id: str | None
    through_bot_id: str | None
    bot_ids: tuple[str, ...] | None
    bot_count: int
    attempt: int
    dry_run: bool
    options: RunOptions

    @property
    def run_id(self) -> int:
        """The run that it is of."""
        return self.ref.run_id

    @property
    def source(self) -> Source:
        """What the rows that it writes come of."""
        return Source(self.request_id, self.run_id, self.number)

    @property
    def number(self) -> int:
        """Its number in that run."""
        return self.ref.number


def claim(connection: sa.Connection, ref: BatchRef, *, worker: str, lease_s: int) -> Batch | None:
    """Claim a batch of a running run, and count the attempt.

    None if there is nothing to do: it is done, another worker has claimed it, the run does not
    run, or it publishes, which this role may not. A batch whose worker died stays claimed until that is
    known: until the pool reports the death, or the lease runs out (`worker.steps.rescue`). `worker`
    names one process; it may claim again what it has claimed.

    Raises:
        TransientError: it is this worker's, and another transaction has the row locked, such as a
            sweep's. That is not waited for: with the run's row locked, it could be a wait in a circle.
    """
    named = (
        sa.select(batches.c.number)
        .join(runs, runs.c.run_id == batches.c.run_id)
        .where(
            *_named(ref),
            runs.c.state == "running",
            sa.or_(runs.c.kind.not_in(PUBLISHES), MAY_PUBLISH),
        )
    )
    own = _is_claimed_by(worker)
    free = (
        named.where(sa.or_(batches.c.state == "pending", own))
        .with_for_update(skip_locked=True, of=batches)
        .cte("free")
    )
    row = connection.execute(
        sa.update(batches)
        .where(
            *_named(ref),  # by its key, whatever the planner takes the run for
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
            runs.c.kind,
            runs.c.request_id,
            runs.c.dry_run,
            runs.c.options,
        )
    ).one_or_none()
    if row is None:
        if connection.scalar(named.where(own)) is not None:  # nobody else will do it
            raise TransientError(f"batch {ref.number} of run {ref.run_id} is locked at the moment")
        return None
    return Batch(
        ref=ref,
        kind=row.kind,
        request_id=row.request_id,
        after_bot_id=row.after_bot_id,
        through_bot_id=row.through_bot_id,
        bot_ids=None if row.bot_ids is None else tuple(row.bot_ids),
        bot_count=row.bot_count,
        attempt=row.attempt,
        dry_run=row.dry_run,
        options=msgspec.convert(row.options, RunOptions),
    )


def lock_for_work(connection: sa.Connection, batch: Batch) -> bool:
    """Keep every other worker from this batch until the transaction ends.

    False if the claim is no longer the last one, or the batch has ended. Waits, for as long as
    `lock_timeout` allows, for a worker that was given up and still works on it.

    An advisory lock, not the row's: the lease in the row is renewed meanwhile, by another
    connection (`renew`). It ends with the transaction, so that poolers may come between.
    """
    connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_key(batch.ref))))
    return connection.scalar(sa.select(sa.exists().where(*_claimed(batch)))) or False


def is_locked_for_work(connection: sa.Connection, ref: BatchRef) -> bool:
    """Whether a worker's transaction has the batch locked; if not, none can begin until ours ends."""
    free = connection.scalar(sa.select(sa.func.pg_try_advisory_xact_lock(_key(ref))))
    return not free


def renew(connection: sa.Connection, batch: Batch, *, lease_s: int) -> bool:
    """Let the lease end `lease_s` from now; False if the claim is no longer the last one."""
    return bool(
        connection.execute(
            sa.update(batches).where(*_claimed(batch)).values(lease_until=_lease(lease_s))
        ).rowcount
    )


def _claimed(batch: Batch) -> tuple[sa.ColumnElement[bool], ...]:
    return _attempted(batch.ref, batch.attempt)


def _attempted(ref: BatchRef, attempt: int) -> tuple[sa.ColumnElement[bool], ...]:
    """The batch while this claim of it is the last: a worker that was given up changes nothing."""
    return (*_named(ref), batches.c.state == "running", batches.c.attempt == attempt)


def _named(ref: BatchRef) -> tuple[sa.ColumnElement[bool], ...]:
    return batches.c.run_id == ref.run_id, batches.c.number == ref.number


def _is_claimed_by(worker: str) -> sa.ColumnElement[bool]:
    return sa.and_(batches.c.state == "running", batches.c.worker == worker)


def _lease(lease_s: int) -> sa.ColumnElement[Any]:
    return sa.func.now() + seconds(lease_s)


def _key(ref: BatchRef) -> sa.ColumnElement[Any]:
    """A number for the advisory lock of a batch that no other lock is likely to have."""
    return sa.func.hashtextextended(f"flowshift.batches {ref.run_id} {ref.number}", 0)


def complete(
    connection: sa.Connection,
    ref: BatchRef,
    *,
    attempt: int,
    counts: Counts,
    codes: dict[str, int],
    overhead: Overhead,
    duration_ms: int,
) -> bool:
    """Take a batch that is locked for work to `done`, with its counts, in the transaction counted.

    False if `attempt` is no longer the last claim: the transaction must be rolled back.
    """
    return bool(
        connection.execute(
            sa.update(batches)
            .where(*_attempted(ref, attempt))
            .values(
                state="done",
                finished_at=sa.func.clock_timestamp(),
                lease_until=None,
                converted=counts.converted,
                unchanged=counts.unchanged,
                published=counts.published,
                rolled_back=counts.rolled_back,
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


def hand_back(connection: sa.Connection, ref: BatchRef, *, worker: str) -> bool:
    """Give back what `worker` has claimed, to be enqueued again: it shuts down gracefully."""
    return bool(
        connection.execute(
            sa.update(batches)
            .where(*_named(ref), _is_claimed_by(worker))
            .values(state="pending", lease_until=None, enqueued_at=None)
        ).rowcount
    )


def give_back(connection: sa.Connection, batch: Batch) -> bool:
    """Give back a claimed batch that may not be done now: no loss, no fault."""
    return bool(
        connection.execute(
            sa.update(batches)
            .where(*_claimed(batch))
            .values(state="pending", lease_until=None, enqueued_at=None)
        ).rowcount
    )


def postpone(
    connection: sa.Connection,
    ref: BatchRef,
    *,
    worker: str,
    error: str,
    fault: int,
    faults_max: int,
) -> BatchState | None:
    """Give back a batch that `worker` could not do, to be enqueued again.

    `fault` is 1 if that counts against the batch, else 0. Returns its state: `pending`, or `failed`
    if it has more than `faults_max` faults now; None if it is over or another worker has it.
    """
    faults = batches.c.faults + fault
    over = sa.and_(faults > faults_max, sa.literal(bool(fault)))
    state: BatchState | None = connection.scalar(
        sa.update(batches)
        .where(*_named(ref), sa.or_(batches.c.state == "pending", _is_claimed_by(worker)))
        .values(
            state=sa.case((over, "failed"), else_="pending"),
            finished_at=sa.case((over, sa.func.now())),
            lease_until=None,
            enqueued_at=None,
            faults=faults,
            error=sa.case(
                (over, f"tried {faults_max + 1} times: {error}"[:2000]), else_=error[:2000]
            ),
        )
        .returning(batches.c.state)
    )
    if state == "failed":
        totals.add_one(connection, "flowshift_batches_failed")
    elif state is not None:
        totals.add_one(connection, "flowshift_batches_postponed", "fault" if fault else "server")
    return state


def fail(connection: sa.Connection, ref: BatchRef, error: str) -> bool:
    """Take a batch that cannot be done to `failed`; says whether this call did it."""
    has_failed = connection.execute(
        sa.update(batches)
        .where(*_named(ref), batches.c.state.in_(["pending", "running"]))
        .values(state="failed", finished_at=sa.func.now(), lease_until=None, error=error[:2000])
    ).rowcount
    if has_failed:
        totals.add_one(connection, "flowshift_batches_failed")
    return bool(has_failed)
