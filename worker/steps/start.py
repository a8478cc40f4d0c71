"""Start a run: say what is wanted, check that it can be meant, write it down. Nothing is sent yet."""

from __future__ import annotations

import msgspec
import sqlalchemy as sa

from worker.core.parity.messages import Trials, trials
from worker.core.policy.budget import Limits
from worker.core.policy.states import OVER, RunKind
from worker.core.storable import INT8_MAX, unstorable
from worker.core.targets.convert import CONVERTER_VERSION
from worker.db import batches, budgets, control, runs
from worker.db.backups import Place
from worker.db.batches import Planned
from worker.db.engine import map_database_errors
from worker.db.runs import ECHO, Provider, Run, RunOptions, Selection
from worker.errors import UsageError
from worker.steps.control import check_limits

LIVE_BATCH_SIZE = 1

LONGEST_REQUEST_ID = 500
"""In characters: an index holds it, which takes 2,700 bytes at most."""

_LISTED_AT_A_TIME = 10_000


class Request(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a person asks for: every field has a name in `flowshift migrate --help`.

    `bot_ids` None means the whole fleet. `retry_of` is a run whose failed bots are taken again, of
    one `code` and of `bot_ids` only where these are given; `of_run` one whose every bot is.

    `kind` is `convert`, or `validate` to execute the drafts that are there. `validate` says how
    many messages each bot is tried on (`none`, `sample:N`, `all`), out of `messages` or else the
    built-in ones; `provider` answers them, `live` within `budget`.

    `include_flagged` takes bots that are flagged V2 without a published version, too; a retry of
    such a run does so by itself.

    `max_rate` is in bots per second, `concurrency` in batches at once, `max_failures` a share from
    0 to 1. `allow_overlap` starts the run though an active one takes some of the same bots.
    """

    kind: RunKind = "convert"
    dry_run: bool = False
    bot_ids: tuple[str, ...] | None = None
    limit: int | None = None
    batch_size: int | None = None
    overwrite_edited: bool = False
    include_flagged: bool = False
    retry_of: int | None = None
    of_run: int | None = None
    code: str | None = None
    max_rate: float | None = None
    concurrency: int | None = None
    max_failures: float | None = None
    allow_overlap: bool = False
    validate: str | None = None
    messages: tuple[str, ...] = ()
    provider: Provider = ECHO
    budget: Limits | None = None

    @property
    def selection(self) -> Selection:
        """Which bots the run is over."""
        if self.retry_of is not None:
            return "retry"
        if self.of_run is not None:
            return "run"
        if self.bot_ids is not None:
            return "listed"
        return "all" if self.limit is None else "limit"


def start_run(
    engine: sa.Engine,
    request: Request,
    *,
    request_id: str,
    requested_by: str,
    default_batch_size: int,
    default_max_failures: float = 0.5,
    backup: Place = "column",
) -> Run:
    """Write down a run in state `planning`; runs over chosen bots get their batches at once.

    `backup` says where the bots' V1 is kept. On repeat (the same `request_id`) the first run is
    returned and nothing else happens.

    Raises:
        UsageError: the request cannot be carried out; nothing was written.
        TransientError: the database was away.
    """
    _check(request)
    _check_storable(request, request_id)
    chosen = _trials(request)
    with map_database_errors(), engine.begin() as connection:
        parent = _parent(connection, request)
        retried = parent if request.retry_of is not None else None
        provider = retried.options.provider if retried else request.provider
        options = RunOptions(
            selection=request.selection,
            limit=request.limit,
            batch_size=request.batch_size or _batch_size(provider, default_batch_size),
            overwrite_edited=request.overwrite_edited,
            include_flagged=request.include_flagged
            or bool(retried and retried.options.include_flagged),
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
            planned = _plan_chosen(connection, run, request)
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
    """Nothing breaks where two runs meet in a bot; it is only hardly ever what was meant."""
    found = control.overlapping(connection, run.run_id)
    if found is not None:
        other, state = found
        raise UsageError(
            f"run {other} is {state} and takes some of the same bots: follow it with `flowshift watch "
            f"{other}`, end it with `flowshift cancel {other}`, or say --allow-overlap"
        )


def _check(request: Request) -> None:
    if request.limit is not None and request.limit < 1:
        raise UsageError(f"the limit must be at least 1 (it is {request.limit})")
    check_limits(
        batch_size=request.batch_size,
        max_rate=request.max_rate,
        concurrency=request.concurrency,
        max_failures=request.max_failures,
    )
    if request.limit is not None and request.bot_ids is not None:
        raise UsageError("give either a limit or bots, not both")
    if request.code is not None and request.retry_of is None:
        raise UsageError("a code can only be chosen when retrying a run")
    if request.of_run is not None and (request.bot_ids is not None or request.retry_of):
        raise UsageError("give either a run or bots, not both")
    if request.kind == "validate":
        _check_validation(request)
    elif request.provider != ECHO:
        raise UsageError(
            "a migration asks no model: validate its drafts afterwards, with a provider"
        )
    if (request.provider == ECHO) != (request.budget is None):
        raise UsageError("real models are asked within a budget, and only they need one")


def _check_storable(request: Request, request_id: str) -> None:
    """Refuse what the columns cannot hold, whoever wrote it."""
    named = {"retry": request.retry_of, "validate": request.of_run}
    for what, run_id in named.items():
        if run_id is not None and not 1 <= run_id <= INT8_MAX:
            raise UsageError(f"there is no run {run_id} to {what}: runs count from 1")
    if request.limit is not None and request.limit > INT8_MAX:
        raise UsageError(f"the limit must be at most {INT8_MAX:,} (it is {request.limit})")
    spent = () if request.budget is None else (request.budget.requests, request.budget.tokens)
    if any(one is not None and one > INT8_MAX for one in spent):
        raise UsageError(f"a budget is at most {INT8_MAX:,} requests or tokens")
    texts = (("bot id", request.bot_ids or ()), ("message", request.messages))
    for what, given in (*texts, ("code", (request.code or "",)), ("request id", (request_id,))):
        for text in given:
            if why := unstorable(text):
                raise UsageError(f"the {what} {text!r} cannot be kept: {why}")
    if not request_id or len(request_id) > LONGEST_REQUEST_ID:
        raise UsageError(f"a request id has 1 to {LONGEST_REQUEST_ID:,} characters")


def _check_validation(request: Request) -> None:
    if request.dry_run or request.overwrite_edited or request.include_flagged:
        raise UsageError("a validation writes no drafts: there is no dry run of it")
    if request.validate == "none":
        raise UsageError("a validation without messages would do nothing")


def _trials(request: Request) -> Trials | None:
    """`migrate` tries one message, and so does a validation that costs something; another tries all."""
    is_free = request.kind == "validate" and request.provider == ECHO
    wanted = request.validate or ("all" if is_free else "sample:1")
    return trials(wanted, request.messages)


def _batch_size(provider: Provider, default: int) -> int:
    """Models take seconds: a batch that asks them is one bot, which ends within a task's limit."""
    return default if provider == ECHO else LIVE_BATCH_SIZE


def _budget(connection: sa.Connection, request: Request) -> Limits | None:
    """What the run may spend: what is asked for, or for a retry as much as its parent might."""
    if request.budget is not None or request.retry_of is None:
        return request.budget
    given = budgets.get(connection, request.retry_of)
    return None if given is None else given.limits


def _parent(connection: sa.Connection, request: Request) -> Run | None:
    parent_run_id = request.of_run if request.retry_of is None else request.retry_of
    if parent_run_id is None:
        return None
    parent = runs.get(connection, parent_run_id)
    if parent is None:
        raise UsageError(f"there is no run {parent_run_id}")
    if parent.state not in OVER:
        what = "validate" if request.retry_of is None else "retry"
        raise UsageError(f"run {parent.run_id} is still {parent.state}: {what} it when it is over")
    if parent.ledger_pruned_at is not None:
        raise UsageError(
            f"what run {parent.run_id} did for each bot is no longer kept: start a new run"
        )
    return parent


def _plan_chosen(connection: sa.Connection, run: Run, request: Request) -> Planned:
    size = run.options.batch_size
    if request.of_run is not None:
        return batches.plan_same(connection, run.run_id, request.of_run)
    if request.retry_of is not None:
        return _plan_retry(connection, run, request, request.retry_of)
    if request.bot_ids is not None:
        _refuse_missing(connection, request.bot_ids)
        return batches.plan_listed(connection, run.run_id, request.bot_ids, size)
    return batches.plan_limit(connection, run.run_id, request.limit or 0, size)


def _plan_retry(connection: sa.Connection, run: Run, request: Request, of: int) -> Planned:
    planned = batches.plan_retry(
        connection,
        run.run_id,
        of,
        run.options.batch_size,
        code=request.code,
        bot_ids=request.bot_ids,
    )
    if not planned.batches:
        which = "none of these bots" if request.bot_ids else "no bot"
        how = f" with {request.code}" if request.code else ""
        raise UsageError(f"{which} failed{how} in run {of}: there is nothing to retry")
    return planned


def _refuse_missing(connection: sa.Connection, bot_ids: tuple[str, ...]) -> None:
    missing: list[str] = []
    for start in range(0, len(bot_ids), _LISTED_AT_A_TIME):
        page = bot_ids[start : start + _LISTED_AT_A_TIME]
        missing += batches.missing_bots(connection, page)
    if missing:
        shown = ", ".join(repr(bot_id) for bot_id in missing[:10])
        more = f" and {len(missing) - 10:,} more" if len(missing) > 10 else ""
        raise UsageError(f"no such bot: {shown}{more}")
