"""Runs: rows of `flowshift.runs`, with what a person asked for."""

from __future__ import annotations

import datetime as dt
from typing import Any, Final, Literal

import msgspec
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from worker.core.codes import WarningCode
from worker.core.parity.messages import Trials
from worker.core.policy.states import OVER, RunKind, RunState
from worker.core.targets.registry import DEFAULT
from worker.db.audit import record
from worker.db.backups import Place
from worker.db.expressions import seconds
from worker.db.tables import runs

Provider = Literal["echo", "live"]
ECHO: Final = "echo"
Selection = Literal["all", "limit", "listed", "retry", "run"]


class RunOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a person asked for, as kept with the run.

    `selection` says which bots: `all`, the first `limit` that have a workflow, those `listed`,
    those that failed in the parent run (`retry`), or those of the parent run (`run`). `trials` are
    the messages that drafts are executed on, None if they are not; `provider` answers them.

    `publication`, and one `wave` of it, is what a run of the kind `roll_back` takes back.

    `include_flagged` takes bots that are flagged V2 without a published version, too.

    `target` is the one that drafts are written for, decided once when the run was started, for
    `target_reason`; `target_finding` is what contradicts it. `live_drafts` writes drafts that the
    target's platform would run at once, too. Known differences of the codes in `strict` are failures.

    `backup` says where the V1 of a bot that has none yet is kept, see `worker.db.backups`.

    `batch_size` is the most bots of a batch, `max_rate` the most bots a second, `concurrency` the
    most batches at once over all workers, `batch_window` the most in the queue (None: no limit of
    this run's own). More than the share `max_failures` failing with one code pauses the run.

    `request_digest` tells what was asked for: another request with the same id is refused.
    """

    selection: Selection = "all"
    publication: int | None = None
    wave: int | None = None
    trials: Trials | None = None
    provider: Provider = ECHO
    limit: int | None = None
    batch_size: int = 500
    overwrite_edited: bool = False
    include_flagged: bool = False
    live_drafts: bool = False
    target: str = DEFAULT.name
    target_reason: str | None = None
    target_finding: str | None = None
    strict: tuple[WarningCode, ...] = ()
    backup: Place = "column"
    max_rate: float | None = None
    concurrency: int | None = None
    batch_window: int | None = None
    max_failures: float = 0.5
    request_digest: str = ""


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """A run as it is in the database."""

    run_id: int
    request_id: str
    kind: RunKind
    parent_run_id: int | None
    state: RunState
    state_reason: str | None
    options: RunOptions
    dry_run: bool
    requested_by: str
    converter_version: str
    planned_through: str | None
    batch_count: int
    bot_count: int
    version: int
    created_at: dt.datetime
    started_at: dt.datetime | None
    finished_at: dt.datetime | None
    running_since: dt.datetime | None
    paced_until: dt.datetime | None
    parked_batch: int | None
    parked_until: dt.datetime | None
    parked_check: str | None
    parked_reason: str | None
    moved_at: dt.datetime
    ledger_pruned_at: dt.datetime | None


def _run(row: sa.Row[Any]) -> Run:
    values = row._asdict()
    values["options"] = msgspec.convert(values["options"], RunOptions)
    return Run(**values)


def create(
    connection: sa.Connection,
    *,
    request_id: str,
    kind: RunKind = "convert",
    options: RunOptions,
    dry_run: bool,
    requested_by: str,
    converter_version: str,
    parent_run_id: int | None = None,
    provisional: bool = False,
) -> tuple[Run, bool]:
    """Create a run in state `planning`; returns it and whether it is new.

    On repeat (the same `request_id`) the run that exists is returned, untouched. A `provisional` run
    has a number below zero, this session's alone, until `give_number` accepts it: a sequence takes no
    number back, and a request that is refused should use none.
    """
    number = {"run_id": -sa.func.pg_backend_pid()} if provisional else {}
    statement = (
        insert(runs)
        .values(
            request_id=request_id,
            kind=kind,
            options=msgspec.to_builtins(options),
            dry_run=dry_run,
            requested_by=requested_by,
            converter_version=converter_version,
            parent_run_id=parent_run_id,
            state="planning",
            **number,
        )
        .on_conflict_do_nothing(index_elements=[runs.c.request_id])
        .returning(runs)
    )
    row = connection.execute(statement).one_or_none()
    if row is not None:
        run = _run(row)
        if not provisional:
            record(connection, run.run_id, requested_by, "run.created", None)
        return run, True
    existing = connection.execute(sa.select(runs).where(runs.c.request_id == request_id)).one()
    return _run(existing), False


def give_number(connection: sa.Connection, run: Run) -> Run:
    """Give a provisional run and its batches the next number, in the transaction that created it."""
    run_id = connection.execute(_NUMBER, {"provisional": run.run_id}).scalar_one()
    record(connection, run_id, run.requested_by, "run.created", None)
    return _run(connection.execute(sa.select(runs).where(runs.c.run_id == run_id)).one())


# One statement, so that the key between the two tables holds at its end.
_NUMBER = sa.text("""
    WITH numbered AS (
        UPDATE flowshift.runs SET run_id = DEFAULT WHERE run_id = :provisional RETURNING run_id
    ), moved AS (
        UPDATE flowshift.batches b SET run_id = n.run_id FROM numbered n
        WHERE b.run_id = :provisional
    )
    SELECT run_id FROM numbered
""")


def get(connection: sa.Connection, run_id: int, *, lock: bool = False) -> Run | None:
    """The run, None if there is none; with `lock` no other transaction changes it until this one ends."""
    query = sa.select(runs).where(runs.c.run_id == run_id)
    row = connection.execute(query.with_for_update() if lock else query).one_or_none()
    return None if row is None else _run(row)


def existing(connection: sa.Connection, run_id: int) -> Run:
    """A run that exists."""
    return _run(connection.execute(sa.select(runs).where(runs.c.run_id == run_id)).one())


def kind_of(connection: sa.Connection, run_id: int) -> RunKind | None:
    """What kind a run is, None if there is none."""
    return connection.scalar(sa.select(runs.c.kind).where(runs.c.run_id == run_id))


def latest(connection: sa.Connection, limit: int = 1, *, before: int | None = None) -> list[Run]:
    """The newest runs, newest first; with `before` those that began before that run."""
    query = sa.select(runs).order_by(runs.c.run_id.desc()).limit(limit)
    if before is not None:
        query = query.where(runs.c.run_id < before)
    return [_run(row) for row in connection.execute(query)]


def recent_ids(connection: sa.Connection) -> list[int]:
    """The runs that are not over, or have been for less than a minute; oldest first."""
    since = sa.func.now() - seconds(60)
    query = sa.select(runs.c.run_id).where(
        sa.or_(runs.c.state.not_in(OVER), runs.c.finished_at > since)
    )
    return list(connection.scalars(query.order_by(runs.c.run_id)))


def note_planned(
    connection: sa.Connection, run_id: int, *, through: str | None, batch_count: int, bot_count: int
) -> None:
    """Keep how far the plan is: a planner that takes over goes on from here."""
    connection.execute(
        sa.update(runs)
        .where(runs.c.run_id == run_id)
        .values(
            planned_through=through,
            batch_count=batch_count,
            bot_count=bot_count,
            moved_at=sa.func.now(),
        )
    )
