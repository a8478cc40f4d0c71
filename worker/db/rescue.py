"""What no worker looks after any more: claims of lost workers, lost messages, runs left open.

Times are the database's, whatever the clocks of workers say; every change is a conditional UPDATE.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import msgspec
import sqlalchemy as sa

from worker.core.policy.batch_ref import BatchRef
from worker.core.policy.states import RunKind
from worker.db.expressions import seconds
from worker.db.heartbeats import longest_s
from worker.db.measuring import totals
from worker.db.platform_tables import bots
from worker.db.tables import batches, heartbeats, runs

CLOSE_GRACE_S = 5
"""A run whose last batch ended so long ago is not being finished by that batch's worker."""

_A_TIME = 100


class Claim(msgspec.Struct, frozen=True):
    """A batch that a worker has claimed and not ended; `overdue_s` since its lease ran out.

    `is_lost` is false if the worker may live, and have been unable to renew the lease.
    """

    ref: BatchRef
    attempt: int
    worker: str
    overdue_s: float
    is_lost: bool


class Lost(msgspec.Struct, frozen=True):
    """A batch whose worker was lost: how often that happened to it, with how many bots."""

    kind: RunKind
    losses: int
    bots: tuple[str, ...]
    dry_run: bool


def begin_sweep(connection: sa.Connection) -> bool:
    """Keep other sweeps away until the transaction ends; False if one is under way."""
    key = sa.func.hashtextextended("flowshift.sweep", 0)
    return connection.scalar(sa.select(sa.func.pg_try_advisory_xact_lock(key))) or False


def claims_of(connection: sa.Connection, worker: str) -> list[Claim]:
    """What the process named `worker` has claimed and not ended, locked."""
    return _claims(connection, batches.c.worker == worker, is_lost=sa.true())


def claims_overdue(
    connection: sa.Connection, *, heartbeat_s: float, patience_s: float
) -> list[Claim]:
    """Claims whose lease ran out, the oldest first, locked, but for those that are being changed.

    One is lost if its worker could have renewed it for `patience_s` and did not.
    """
    is_lost = _had_its_chance(heartbeat_s, patience_s)
    return _claims(connection, batches.c.lease_until < sa.func.now(), is_lost=is_lost)


def _had_its_chance(heartbeat_s: float, patience_s: float) -> sa.ColumnElement[bool]:
    """Whether the worker of a batch was able to reach the database for the last `patience_s`.

    Its own heartbeat shows that while it comes; if it does not, any other's: the database was there,
    and the worker was not. After an outage none has come for long enough, so that workers that lived
    through it renew their leases first.
    """
    own = heartbeats.alias("own")
    is_own = sa.and_(
        own.c.kind == "worker",
        sa.func.starts_with(batches.c.worker, _process_prefix(own)),
    )
    own_beats = sa.exists().where(is_own, _beats(own, heartbeat_s))
    own_unbroken = sa.exists().where(
        is_own, _beats(own, heartbeat_s), own.c.unbroken_since <= _ago(patience_s)
    )
    other = heartbeats.alias("other")
    any_unbroken = sa.exists().where(
        _beats(other, heartbeat_s), other.c.unbroken_since <= _ago(patience_s)
    )
    return sa.case((own_beats, own_unbroken), else_=any_unbroken)


def _beats(heart: sa.FromClause, heartbeat_s: float) -> sa.ColumnElement[bool]:
    return sa.and_(heart.c.stopped_at.is_(None), heart.c.beat_at > _ago(longest_s(heartbeat_s)))


def _process_prefix(heart: sa.FromClause) -> sa.ColumnElement[str]:
    """How the names begin under which a worker's processes claim (`worker.queue.limits`)."""
    instance = sa.func.left(sa.cast(heart.c.instance_id, sa.Text), 8)
    return sa.func.concat(heart.c.name, " ", instance, "/")


def _claims(
    connection: sa.Connection,
    which: sa.ColumnElement[bool],
    *,
    is_lost: sa.ColumnElement[bool],
) -> list[Claim]:
    overdue = sa.func.greatest(0, sa.extract("epoch", sa.func.now() - batches.c.lease_until))
    query = (
        sa.select(
            batches.c.run_id,
            batches.c.number,
            batches.c.attempt,
            batches.c.worker,
            overdue,
            is_lost.label("is_lost"),
        )
        .join(runs, runs.c.run_id == batches.c.run_id)
        .where(batches.c.state == "running", runs.c.state.in_(["running", "paused"]), which)
        .order_by(sa.desc("is_lost"), batches.c.lease_until)
        .limit(_A_TIME)
        .with_for_update(of=batches, skip_locked=True)
    )
    return [
        Claim(BatchRef(run_id, number), attempt, worker or "unknown", float(overdue), is_lost)
        for run_id, number, attempt, worker, overdue, is_lost in connection.execute(query)
    ]


def count_loss(connection: sa.Connection, claim: Claim, why: str) -> Lost | None:
    """Note that the worker of a claim was lost; None if the claim was ended meanwhile."""
    row = connection.execute(
        sa.update(batches)
        .where(
            batches.c.run_id == claim.ref.run_id,
            batches.c.number == claim.ref.number,
            batches.c.state == "running",
            batches.c.attempt == claim.attempt,
            runs.c.run_id == batches.c.run_id,
        )
        .values(losses=batches.c.losses + 1, error=why[:2000])
        .returning(
            runs.c.kind,
            batches.c.losses,
            batches.c.after_bot_id,
            batches.c.through_bot_id,
            batches.c.bot_ids,
            runs.c.dry_run,
        )
    ).one_or_none()
    if row is None:
        return None
    totals.add_one(connection, "flowshift_leases_lost")
    return Lost(row.kind, row.losses, _two_bots(connection, row), row.dry_run)


def _two_bots(connection: sa.Connection, row: sa.Row[Any]) -> tuple[str, ...]:
    """The first two bots of a slice that exist: enough to know whether one is alone."""
    query = sa.select(sa.cast(bots.c.bot_id, sa.Text)).order_by(bots.c.bot_id).limit(2)
    if row.bot_ids is not None:
        query = query.where(bots.c.bot_id == sa.func.any(sa.cast(row.bot_ids, sa.ARRAY(sa.Text))))
    else:
        query = query.where(bots.c.bot_id <= row.through_bot_id)
        if row.after_bot_id is not None:
            query = query.where(bots.c.bot_id > row.after_bot_id)
    return tuple(connection.scalars(query))


def free(connection: sa.Connection, claim: Claim) -> None:
    """Make a claimed batch pending again, to be enqueued again."""
    connection.execute(
        sa.update(batches)
        .where(
            batches.c.run_id == claim.ref.run_id,
            batches.c.number == claim.ref.number,
            batches.c.state == "running",
            batches.c.attempt == claim.attempt,
        )
        .values(state="pending", lease_until=None, enqueued_at=None)
    )


def suspect(connection: sa.Connection, refs: Collection[BatchRef], losses: int) -> None:
    """Set the losses of the halves of a batch that was split; a bot that is alone begins with none.

    What is recorded on a bot was seen with that bot alone.
    """
    connection.execute(
        sa.update(batches)
        .where(
            sa.tuple_(batches.c.run_id, batches.c.number).in_(
                [(ref.run_id, ref.number) for ref in refs]
            )
        )
        .values(losses=sa.case((batches.c.bot_count > 1, losses), else_=0))
    )


def open_runs(connection: sa.Connection) -> list[int]:
    """Runs that have batches to be done, in order."""
    return list(
        connection.scalars(
            sa.select(runs.c.run_id).where(runs.c.state == "running").order_by(runs.c.run_id)
        )
    )


def runs_left_open(connection: sa.Connection) -> list[int]:
    """Runs whose last batch ended a while ago and that no worker finished, in order."""
    of_run = batches.c.run_id == runs.c.run_id
    is_open = sa.exists().where(of_run, batches.c.state.in_(["pending", "running"]))
    last = sa.select(sa.func.max(batches.c.finished_at)).where(of_run).scalar_subquery()
    return list(
        connection.scalars(
            sa.select(runs.c.run_id)
            .where(
                runs.c.state.in_(["running", "finishing"]),
                ~is_open,
                sa.func.coalesce(last, runs.c.started_at) < _ago(CLOSE_GRACE_S),
            )
            .order_by(runs.c.run_id)
        )
    )


def _ago(age_s: float) -> sa.ColumnElement[Any]:
    return sa.func.now() - seconds(age_s)
