"""Start a run: check what is asked for, record it, enqueue its planning."""

from __future__ import annotations

import uuid

import sqlalchemy as sa

from worker.core.codes import WarningCode, parse_differences
from worker.core.parity.messages import Trials, trials
from worker.core.policy.budget import Limits
from worker.core.targets.convert import CONVERTER_VERSION
from worker.core.targets.detect import AUTO
from worker.core.targets.registry import TARGETS
from worker.db import budgets, control, runs
from worker.db.backups import Place
from worker.db.engine import map_database_errors
from worker.db.runs import ECHO, Provider, Run, RunOptions
from worker.errors import ConflictError, QueueAwayError, TransientError
from worker.providers import live
from worker.queue.dispatch import Queue
from worker.runtime import Runtime
from worker.steps.batch.kinds import KINDS
from worker.steps.check_request import check_request
from worker.steps.choose import parent_of, plan_chosen
from worker.steps.request import Request
from worker.steps.request_ids import digest, need_free, need_same
from worker.steps.target import choose_for_run

__all__ = ["Request", "enqueue_planning", "record_as_set", "record_run", "start_run"]

LIVE_BATCH_SIZE = 1


def start_run(
    current: Runtime,
    queue: Queue,
    request: Request,
    *,
    request_id: str | None = None,
    requested_by: str,
) -> Run:
    """Record a run and enqueue its planning; returns the run, in state `planning`.

    On repeat with the same `request_id` nothing new is started, and planning is enqueued again if
    it is not over (harmless: a plan is made once).

    Raises:
        ConflictError: another request has this id, or an active run has some of the bots.
        UsageError: the request cannot be carried out; nothing was started.
        ConfigError: it asks models, and none can be asked from here, or the platform's own check
            cannot be asked; nothing was started.
        TransientError: PostgreSQL was unavailable (nothing was started), or the queue was (the run waits
            in `planning`; the message names it).
    """
    if request.provider != ECHO:
        live.check(current.live)
    if current.platform is not None:
        current.platform.capabilities()
    request_id = request_id or str(uuid.uuid4())
    with map_database_errors(), current.engine.begin() as connection:
        run = record_as_set(
            current, connection, request, request_id=request_id, requested_by=requested_by
        )
    enqueue_planning(queue, run)
    return run


def record_as_set(
    current: Runtime,
    connection: sa.Connection,
    request: Request,
    *,
    request_id: str,
    requested_by: str,
) -> Run:
    """`record_run` in the caller's transaction, by the settings of this process."""
    settings = current.settings
    check_request(request, request_id)
    return _record(
        connection,
        request,
        request_id=request_id,
        requested_by=requested_by,
        default_batch_size=settings.batch_size,
        default_max_failures=settings.max_failures,
        backup=settings.backup,
        default_target=settings.target,
        default_strict=parse_differences(settings.strict),
    )


def enqueue_planning(queue: Queue, run: Run) -> None:
    """Enqueue the planning of a run that was recorded, unless that is over.

    Raises:
        TransientError: the queue was unavailable; the run waits, and a sweep enqueues its planning.
    """
    if run.state != "planning":
        return
    try:
        queue.enqueue_plan(run.run_id)
    except QueueAwayError as error:
        raise TransientError(
            f"run {run.run_id} is recorded, but the queue is unavailable, so no worker plans it yet; "
            f"a sweep enqueues that when the queue is back: {error}"
        ) from error


def record_run(
    engine: sa.Engine,
    request: Request,
    *,
    request_id: str,
    requested_by: str,
    default_batch_size: int,
    default_max_failures: float = 0.5,
    backup: Place = "column",
    default_target: str = AUTO,
    default_strict: tuple[WarningCode, ...] = (),
) -> Run:
    """Record a run in state `planning`; runs over chosen bots get their batches at once.

    `backup` says where the bots' V1 is kept. The target is decided here, once for the run. On
    repeat (the same `request_id`) the first run is returned and nothing else happens.

    Raises:
        ConflictError: another request has this id, or an active run has some of the bots.
        UsageError: the request cannot be carried out; nothing was written.
        TransientError: the database was unavailable.
    """
    check_request(request, request_id)
    with map_database_errors(), engine.begin() as connection:
        return _record(
            connection,
            request,
            request_id=request_id,
            requested_by=requested_by,
            default_batch_size=default_batch_size,
            default_max_failures=default_max_failures,
            backup=backup,
            default_target=default_target,
            default_strict=default_strict,
        )


def _record(
    connection: sa.Connection,
    request: Request,
    *,
    request_id: str,
    requested_by: str,
    default_batch_size: int,
    default_max_failures: float,
    backup: Place,
    default_target: str,
    default_strict: tuple[WarningCode, ...],
) -> Run:
    need_free(connection, request_id, "run")
    chosen = _trials(request)
    parent = parent_of(connection, request)
    retried = parent if request.retry_of is not None else None
    provider = retried.options.provider if retried else request.provider
    target = choose_for_run(connection, request, default_target, parent)
    inherited = retried.options if retried else None
    serves_drafts = TARGETS[target.target].serves_drafts
    options = RunOptions(
        selection=request.selection,
        limit=request.limit,
        batch_size=request.batch_size or _batch_size(provider, default_batch_size),
        overwrite_edited=request.overwrite_edited,
        include_flagged=request.include_flagged
        or bool(inherited and inherited.include_flagged and not serves_drafts),
        live_drafts=request.live_drafts
        or bool(inherited and inherited.live_drafts and serves_drafts),
        target=target.target,
        target_reason=target.reason,
        target_finding=target.finding,
        strict=_strict(request, inherited, default_strict),
        backup=backup,
        max_rate=request.max_rate,
        concurrency=request.concurrency,
        max_failures=(
            default_max_failures if request.max_failures is None else request.max_failures
        ),
        trials=retried.options.trials if retried and request.validate is None else chosen,
        provider=provider,
        request_digest=digest(request),
    )
    run, is_new = runs.create(
        connection,
        request_id=request_id,
        kind=retried.kind if retried else request.kind,
        options=options,
        dry_run=request.dry_run or bool(retried and retried.dry_run),
        requested_by=requested_by,
        converter_version=CONVERTER_VERSION,
        parent_run_id=parent.run_id if parent else None,
        provisional=True,
    )
    if not is_new:
        kept = run.options.request_digest
        need_same(request_id, f"run {run.run_id}", kept, options.request_digest)
        return run
    if request.selection != "all":
        planned = plan_chosen(connection, run, request)
        runs.note_planned(
            connection,
            run.run_id,
            through=None,
            batch_count=planned.batches,
            bot_count=planned.bots,
        )
    if not request.allow_overlap:
        _refuse_overlap(connection, run)
    run = runs.give_number(connection, run)
    if (budget := _budget(connection, request)) is not None:
        budgets.allow(connection, run.run_id, budget)
    return run


def _refuse_overlap(connection: sa.Connection, run: Run) -> None:
    """Two runs over one bot break nothing, but are rarely intended."""
    found = control.overlapping(connection, run.run_id)
    if found is not None:
        other, state = found
        raise ConflictError(
            f"run {other} is {state} and takes some of the same bots: follow it with `flowshift watch "
            f"{other}`, end it with `flowshift cancel {other}`, or use --allow-overlap"
        )


def _strict(
    request: Request, inherited: RunOptions | None, default: tuple[WarningCode, ...]
) -> tuple[WarningCode, ...]:
    """The known differences that are failures: what is asked for, else the setting's, else the run's."""
    if request.strict is not None:
        return request.strict
    return default or (inherited.strict if inherited else ())


def _trials(request: Request) -> Trials | None:
    wanted = request.validate or KINDS[request.kind].default_trials(request)
    return trials(wanted, request.messages)


def _batch_size(provider: Provider, default: int) -> int:
    """Models take seconds: a batch that asks them is one bot, so that it ends within a task's limit."""
    return default if provider == ECHO else LIVE_BATCH_SIZE


def _budget(connection: sa.Connection, request: Request) -> Limits | None:
    """What the run may spend: what is asked for, or for a retry as much as its parent might."""
    if request.budget is not None or request.retry_of is None:
        return request.budget
    given = budgets.get(connection, request.retry_of)
    return None if given is None else given.limits
