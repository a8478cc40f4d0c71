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
from worker.errors import QueueAwayError, TransientError, UsageError
from worker.providers import live
from worker.queue.dispatch import Queue
from worker.runtime import Runtime
from worker.steps.batch.kinds import KINDS
from worker.steps.check_request import check_request
from worker.steps.choose import parent_of, plan_chosen
from worker.steps.request import Request
from worker.steps.target import choose_for_run

__all__ = ["Request", "record_run", "start_run"]

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
    run = record_run(
        current.engine,
        request,
        request_id=request_id or str(uuid.uuid4()),
        requested_by=requested_by,
        default_batch_size=current.settings.batch_size,
        default_max_failures=current.settings.max_failures,
        backup=current.settings.backup,
        default_target=current.settings.target,
        default_strict=parse_differences(current.settings.strict),
    )
    if run.state == "planning":
        try:
            queue.enqueue_plan(run.run_id)
        except QueueAwayError as error:
            raise TransientError(
                f"run {run.run_id} is recorded, but the queue is unavailable, so no worker plans it yet; "
                f"a sweep enqueues that when the queue is back: {error}"
            ) from error
    return run


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
        UsageError: the request cannot be carried out; nothing was written.
        TransientError: the database was unavailable.
    """
    check_request(request, request_id)
    chosen = _trials(request)
    with map_database_errors(), engine.begin() as connection:
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
        raise UsageError(
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
