"""How far a run is: arithmetic on committed rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY

from worker.core.policy.progress import (
    NO_PUBLISHER,
    NO_WORKER,
    RECENT_S,
    UNATTENDED_S,
    WORKER_SILENT_S,
    Counts,
    Progress,
    eta_of,
    rate_of,
    version_of,
)
from worker.core.policy.run_kinds import PUBLISHES
from worker.core.policy.states import OVER
from worker.core.publication.wave_ref import WaveRef
from worker.db.expressions import BOTS_COUNTED, seconds
from worker.db.publication.wave_of_run import waves_of_runs
from worker.db.tables import batches, heartbeats, runs

_PUBLISHES: Final = runs.c.kind.in_(PUBLISHES)


def read(connection: sa.Connection, run_id: int) -> Progress | None:
    """How far a run is, from committed rows; None if there is no such run.

    Its counts come from one statement.
    """
    return read_each(connection, [run_id]).get(run_id)


def read_each(connection: sa.Connection, run_ids: Sequence[int]) -> dict[int, Progress]:
    """How far each of some runs is, by its id, in two statements; those that are not there are left out."""
    ended = batches.c.state.in_(["done", "failed"])
    bots = BOTS_COUNTED
    recent = batches.c.finished_at > sa.func.now() - seconds(RECENT_S)
    until = sa.func.coalesce(runs.c.finished_at, sa.func.now())
    totals = sa.select(
        *(
            sa.func.coalesce(sa.func.sum(batches.c[name]), 0).label(name)
            for name in Counts.__struct_fields__
        ),
        sa.func.coalesce(sa.func.sum(sa.case((ended, bots), else_=batches.c.bot_count)), 0).label(
            "bots_total"
        ),
        sa.func.count().filter(batches.c.state == "done").label("batches_done"),
        sa.func.count().filter(batches.c.state == "failed").label("batches_failed"),
        sa.func.coalesce(sa.func.sum(bots).filter(recent), 0).label("recent"),
    ).where(batches.c.run_id == runs.c.run_id)
    query = sa.select(
        runs.c.run_id,
        runs.c.request_id,
        runs.c.kind,
        runs.c.state,
        runs.c.state_reason,
        runs.c.dry_run,
        runs.c.batch_count,
        runs.c.version,
        sa.case(
            (
                sa.and_(runs.c.state == "running", runs.c.parked_until > sa.func.now()),
                runs.c.parked_check + ": " + runs.c.parked_reason,
            ),
            (
                sa.and_(runs.c.state.in_(["planning", "running"]), unattended()),
                sa.case((_PUBLISHES, NO_PUBLISHER), else_=NO_WORKER),
            ),
        ).label("waiting"),
        sa.func.coalesce(sa.extract("epoch", until - runs.c.started_at), 0.0).label("elapsed_s"),
        sa.extract("epoch", sa.func.now() - until).label("over_for_s"),
        sa.literal_column("t.*"),
    ).select_from(runs.join(totals.lateral("t"), sa.true()))
    of_these = runs.c.run_id == sa.any_(sa.bindparam("run_ids", type_=ARRAY(sa.BigInteger)))
    rows = connection.execute(query.where(of_these), {"run_ids": list(run_ids)}).mappings().all()
    published = [row["run_id"] for row in rows if row["kind"] in PUBLISHES]
    waves = waves_of_runs(connection, published) if published else {}
    return {row["run_id"]: _progress(row["run_id"], row, waves.get(row["run_id"])) for row in rows}


def unattended() -> sa.ColumnElement[bool]:
    """SQL: whether no worker works on the run in the row of `runs`.

    None that lives takes its batches, none has one of them, and nothing happened lately.
    """

    def within(column: sa.ColumnElement[Any], age_s: float) -> sa.ColumnElement[bool]:
        return column > sa.func.now() - seconds(age_s)

    lives = sa.exists().where(
        heartbeats.c.kind == "worker",
        sa.case((_PUBLISHES, "publish"), else_="convert") == sa.any_(heartbeats.c.queues),
        heartbeats.c.stopped_at.is_(None),
        within(heartbeats.c.beat_at, WORKER_SILENT_S),
        sa.or_(
            within(heartbeats.c.worked_at, WORKER_SILENT_S),
            within(heartbeats.c.started_at, WORKER_SILENT_S),
        ),
    )
    of_run = batches.c.run_id == runs.c.run_id
    at_work = sa.exists().where(
        of_run, batches.c.state == "running", batches.c.lease_until > sa.func.now()
    )
    moved = sa.exists().where(of_run, within(batches.c.finished_at, UNATTENDED_S))
    started = within(sa.func.greatest(runs.c.created_at, runs.c.started_at), UNATTENDED_S)
    return sa.not_(sa.or_(started, lives, at_work, moved))


def _progress(run_id: int, row: Any, wave: WaveRef | None) -> Progress:
    counts = Counts(**{name: int(row[name]) for name in Counts.__struct_fields__})
    state, elapsed_s, total = row["state"], float(row["elapsed_s"]), int(row["bots_total"])
    over = state in OVER
    stands_still = state == "paused" or row["waiting"] in (NO_WORKER, NO_PUBLISHER)
    unknown = stands_still or (state == "planning" and total <= counts.bots)
    if over:
        rate = counts.bots / elapsed_s if elapsed_s else 0.0
    else:
        rate = 0.0 if stands_still else rate_of(int(row["recent"]), elapsed_s)
    return Progress(
        run_id=run_id,
        request_id=row["request_id"],
        state=state,
        reason=row["state_reason"],
        waiting=row["waiting"],
        dry_run=row["dry_run"],
        counts=counts,
        bots_total=total,
        batches_done=row["batches_done"],
        batches_failed=row["batches_failed"],
        batches_total=row["batch_count"],
        rate=round(rate, 1),
        eta_s=0.0 if over else None if unknown else eta_of(total - counts.bots, rate),
        elapsed_s=round(elapsed_s, 3),
        wave=wave,
        over_for_s=max(0.0, float(row["over_for_s"])),
        version=version_of(row["version"], row["batches_done"] + row["batches_failed"]),
    )
