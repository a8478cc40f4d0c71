"""Runs: rows of `flowshift.runs`, their states, and how far they are."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Sequence
from typing import Any, Final, Literal, cast

import msgspec
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from worker.core.parity import overhead as overheads
from worker.core.parity.messages import Trials
from worker.core.policy.progress import (
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
from worker.core.policy.states import OVER, RunKind, RunState, states_before
from worker.db.backups import Place
from worker.db.tables import audit, batches, heartbeats, ledger, runs

Provider = Literal["echo", "live"]
ECHO: Final = "echo"
Selection = Literal["all", "limit", "listed", "retry", "run"]


class RunOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a person asked for, as kept with the run.

    `selection` says which bots: `all`, the first `limit` that have a workflow, those `listed`,
    those that failed in the parent run (`retry`), or those of the parent run (`run`). `trials` are
    the messages that drafts are executed on, None where they are not; `provider` answers them.

    `include_flagged` takes bots that are flagged V2 without a published version, too.

    `backup` says where the V1 of a bot that has none yet is kept, see `worker.db.backups`.

    `batch_size` is the most bots of a batch, `max_rate` the most bots a second, `concurrency` the
    most batches at once over all workers, `batch_window` the most in the queue (None: no limit of
    this run's own). More than the share `max_failures` failing with one code pauses the run.
    """

    selection: Selection = "all"
    trials: Trials | None = None
    provider: Provider = ECHO
    limit: int | None = None
    batch_size: int = 500
    overwrite_edited: bool = False
    include_flagged: bool = False
    backup: Place = "column"
    max_rate: float | None = None
    concurrency: int | None = None
    batch_window: int | None = None
    max_failures: float = 0.5


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """A run as it stands in the database."""

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
    held_batch: int | None
    held_until: dt.datetime | None
    held_check: str | None
    held_reason: str | None
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
    """The run, None where there is none; with `lock` nobody else changes it until the end."""
    query = sa.select(runs).where(runs.c.run_id == run_id)
    row = connection.execute(query.with_for_update() if lock else query).one_or_none()
    return None if row is None else _run(row)


def existing(connection: sa.Connection, run_id: int) -> Run:
    """A run that exists."""
    return _run(connection.execute(sa.select(runs).where(runs.c.run_id == run_id)).one())


def kind_of(connection: sa.Connection, run_id: int) -> RunKind | None:
    """What kind a run is, None where there is none."""
    return connection.scalar(sa.select(runs.c.kind).where(runs.c.run_id == run_id))


def latest(connection: sa.Connection, limit: int = 1) -> list[Run]:
    """The newest runs, newest first."""
    query = sa.select(runs).order_by(runs.c.run_id.desc()).limit(limit)
    return [_run(row) for row in connection.execute(query)]


def recent_ids(connection: sa.Connection) -> list[int]:
    """The runs that are not over, or have been for less than a minute; oldest first."""
    since = sa.func.now() - sa.cast("1 minute", sa.Interval)
    query = sa.select(runs.c.run_id).where(
        sa.or_(runs.c.state.not_in(OVER), runs.c.finished_at > since)
    )
    return list(connection.scalars(query.order_by(runs.c.run_id)))


def go(
    connection: sa.Connection,
    run_id: int,
    state: RunState,
    *,
    reason: str | None,
    actor: str,
    why: str | None = None,
) -> bool:
    """Take a run to `state`, if it is in a state that this may leave; says whether it did.

    A conditional UPDATE: of two that try, one succeeds, and a repeat finds nothing to change. Every
    change is in the audit trail, with `why` where that is not the reason shown with the state.
    """
    values: dict[str, Any] = {
        "state": state,
        "state_reason": reason,
        "version": runs.c.version + 1,
    }
    if state == "running":
        values["started_at"] = sa.func.coalesce(runs.c.started_at, sa.func.now())
        values["running_since"] = sa.func.clock_timestamp()
    else:  # what does not run waits for nothing
        values |= dict.fromkeys(("held_batch", "held_until", "held_check", "held_reason"))
    if state in OVER:
        values["finished_at"] = sa.func.now()
    changed = connection.execute(
        sa.update(runs)
        .where(runs.c.run_id == run_id, runs.c.state.in_(states_before(state)))
        .values(values)
    ).rowcount
    if changed:
        record(connection, run_id, actor, f"run.{state}", why or reason)
    return bool(changed)


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


def finish_if_last(connection: sa.Connection, run_id: int, actor: str) -> bool:
    """Take a running run to `finishing` if no batch is left; says whether it is finishing now.

    Call it after the batch has committed: of the last two to finish at once, the later commit sees
    both as done (design section 6, guarantee 6). A run that somebody left in `finishing` counts.
    """
    open_batches = sa.select(batches.c.number).where(
        batches.c.run_id == run_id, batches.c.state.in_(["pending", "running"])
    )
    if connection.scalar(sa.select(sa.exists(open_batches))):
        return False
    if go(connection, run_id, "finishing", reason=None, actor=actor):
        return True
    return connection.scalar(sa.select(runs.c.state).where(runs.c.run_id == run_id)) == "finishing"


def record(
    connection: sa.Connection,
    run_id: int | None,
    actor: str,
    action: str,
    reason: str | None,
    detail: dict[str, Any] | None = None,
) -> None:
    """Add a line to the audit trail, in the transaction of what it tells of."""
    connection.execute(
        sa.insert(audit).values(
            run_id=run_id, actor=actor, action=action, reason=reason, detail=detail or {}
        )
    )


def progress(connection: sa.Connection, run_id: int) -> Progress | None:
    """How far a run is, from committed rows, in one statement; None where there is no such run."""
    ended = batches.c.state.in_(["done", "failed"])
    bots = batches.c.converted + batches.c.unchanged + batches.c.skipped + batches.c.failed
    recent = batches.c.finished_at > sa.func.now() - sa.cast(f"{RECENT_S} seconds", sa.Interval)
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
    ).where(batches.c.run_id == run_id)
    query = sa.select(
        runs.c.request_id,
        runs.c.state,
        runs.c.state_reason,
        runs.c.dry_run,
        runs.c.batch_count,
        runs.c.version,
        sa.case(
            (
                sa.and_(runs.c.state == "running", runs.c.held_until > sa.func.now()),
                runs.c.held_check + ": " + runs.c.held_reason,
            ),
            (sa.and_(runs.c.state.in_(["planning", "running"]), _unattended()), NO_WORKER),
        ).label("waiting"),
        sa.func.coalesce(sa.extract("epoch", until - runs.c.started_at), 0.0).label("elapsed_s"),
        sa.extract("epoch", sa.func.now() - until).label("over_for_s"),
        sa.literal_column("t.*"),
    ).select_from(runs.join(totals.lateral("t"), sa.true()))
    row = connection.execute(query.where(runs.c.run_id == run_id)).one_or_none()
    return None if row is None else _progress(run_id, row._asdict())


def _unattended() -> sa.ColumnElement[bool]:
    """Whether no worker works on the run: none lives, none has a batch, and nothing happened lately."""

    def within(column: sa.ColumnElement[Any], seconds: float) -> sa.ColumnElement[bool]:
        return column > sa.func.now() - sa.cast(f"{seconds} seconds", sa.Interval)

    lives = sa.exists().where(
        heartbeats.c.kind == "worker",
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


def _progress(run_id: int, row: Any) -> Progress:
    counts = Counts(**{name: int(row[name]) for name in Counts.__struct_fields__})
    state, elapsed_s, total = row["state"], float(row["elapsed_s"]), int(row["bots_total"])
    over = state in OVER
    stands_still = state == "paused" or row["waiting"] == NO_WORKER
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
        over_for_s=max(0.0, float(row["over_for_s"])),
        version=version_of(row["version"], row["batches_done"] + row["batches_failed"]),
    )


def codes(connection: sa.Connection, run_id: int) -> dict[str, int]:
    """How often each `outcome:code` occurred in a run, the most frequent first."""
    entry = sa.func.jsonb_each_text(batches.c.codes).table_valued("key", "value").lateral("entry")
    total = sa.func.sum(sa.cast(entry.c.value, sa.BigInteger)).label("total")
    query = (
        sa.select(entry.c.key, total)
        .select_from(batches.join(entry, sa.true()))
        .where(batches.c.run_id == run_id)
        .group_by(entry.c.key)
        .order_by(total.desc(), entry.c.key)
    )
    return {key: int(value) for key, value in connection.execute(query)}


def overhead(connection: sa.Connection, run_id: int) -> overheads.Summary | None:
    """V2's time over V1's in a run, added up over its batches; None where nothing was executed."""
    each = sa.func.jsonb_each_text(batches.c.overhead["counts"]).table_valued("key", "value")
    entry = each.lateral("entry")
    us = sa.cast(entry.c.key, sa.BigInteger)
    bots = sa.cast(sa.func.sum(sa.cast(entry.c.value, sa.BigInteger)), sa.BigInteger)
    of_run = batches.c.run_id == run_id
    counts = connection.execute(
        sa.select(us, bots).select_from(batches.join(entry, sa.true())).where(of_run).group_by(us)
    ).all()
    over_limit = sa.cast(batches.c.overhead["over_limit"].astext, sa.BigInteger)
    max_us, over = connection.execute(
        sa.select(
            sa.func.max(sa.cast(batches.c.overhead["max_us"].astext, sa.BigInteger)),
            sa.cast(sa.func.coalesce(sa.func.sum(over_limit), 0), sa.BigInteger),
        ).where(of_run)
    ).one()
    slow = connection.scalars(
        sa.select(batches.c.overhead["slow"]).where(of_run, over_limit > 0)
    ).all()
    named = msgspec.convert([bot for kept in slow for bot in kept], list[overheads.SlowBot])
    return overheads.summarize({row[0]: row[1] for row in counts}, max_us, over, named)


class Failure(msgspec.Struct, frozen=True):
    """A bot that failed in a run, and why."""

    bot_id: str
    code: str
    message: str | None


def failures(
    connection: sa.Connection, run_id: int, *, limit: int | None, code: str | None = None
) -> list[Failure]:
    """Failed bots of a run, by code and bot, at most `limit`."""
    query = (
        sa.select(ledger.c.bot_id, ledger.c.code, ledger.c.message)
        .where(ledger.c.run_id == run_id, ledger.c.outcome == "failed")
        .order_by(ledger.c.code, ledger.c.bot_id)
        .limit(limit)
    )
    if code is not None:
        query = query.where(ledger.c.code == code)
    return [Failure(*row) for row in connection.execute(query)]


def failed_batches(connection: sa.Connection, run_id: int) -> Sequence[tuple[int, str]]:
    """Batches that failed as a whole, with the reason."""
    query = (
        sa.select(batches.c.number, sa.func.coalesce(batches.c.error, ""))
        .where(batches.c.run_id == run_id, batches.c.state == "failed")
        .order_by(batches.c.number)
    )
    return cast("Sequence[tuple[int, str]]", [tuple(row) for row in connection.execute(query)])


class OutcomeRow(msgspec.Struct, frozen=True):
    """What a run did for one bot, in short."""

    bot_id: str
    outcome: str
    code: str | None
    message: str | None
    warnings: int


def outcomes(connection: sa.Connection, run_id: int) -> Iterator[OutcomeRow]:
    """Every bot of a run in key order, a page at a time: the ledger's key leads with the bot."""
    page, after = 1_000, ""
    warned = sa.func.coalesce(sa.func.jsonb_array_length(ledger.c.warnings), 0)
    query = sa.select(
        ledger.c.bot_id, ledger.c.outcome, ledger.c.code, ledger.c.message, warned
    ).where(ledger.c.run_id == run_id)
    while True:
        rows = connection.execute(
            query.where(ledger.c.bot_id > after).order_by(ledger.c.bot_id).limit(page)
        ).all()
        for row in rows:
            yield OutcomeRow(*row)
        if len(rows) < page:
            return
        after = rows[-1].bot_id
