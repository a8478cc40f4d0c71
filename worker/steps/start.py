"""Start a run: say what is wanted, check that it can be meant, write it down. Nothing is sent yet."""

from __future__ import annotations

import msgspec
import sqlalchemy as sa

from worker.core.convert import CONVERTER_VERSION
from worker.core.messages import Trials, trials
from worker.core.states import OVER, RunKind
from worker.db import batches, runs
from worker.db.batches import Planned
from worker.db.engine import map_database_errors
from worker.db.runs import Run, RunOptions, Selection
from worker.errors import UsageError

LIVE_BATCH_SIZE = 10

_LISTED_AT_A_TIME = 10_000


class Request(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a person asks for: every field has a name in `flowshift migrate --help`.

    `bot_ids` None means the whole fleet. `retry_of` is a run whose failed bots are taken again, of
    one `code` and of `bot_ids` only where these are given; `of_run` one whose every bot is.

    `kind` is `convert`, or `validate` to execute the drafts that are there. `validate` says how
    many messages each bot is tried on (`none`, `sample:N`, `all`), out of `messages` or else the
    built-in ones; `provider` answers them.
    """

    kind: RunKind = "convert"
    dry_run: bool = False
    bot_ids: tuple[str, ...] | None = None
    limit: int | None = None
    batch_size: int | None = None
    overwrite_edited: bool = False
    retry_of: int | None = None
    of_run: int | None = None
    code: str | None = None
    validate: str | None = None
    messages: tuple[str, ...] = ()
    provider: str = "echo"

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
) -> Run:
    """Write down a run in state `planning`; runs over chosen bots get their batches at once.

    On repeat (the same `request_id`) the first run is returned and nothing else happens.

    Raises:
        UsageError: the request cannot be carried out; nothing was written.
        TransientError: the database was away.
    """
    _check(request)
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
        )
        if is_new and request.selection != "all":
            planned = _plan_chosen(connection, run, request)
            runs.note_planned(
                connection,
                run.run_id,
                through=None,
                batch_count=planned.batches,
                bot_count=planned.bots,
            )
    return run


def _check(request: Request) -> None:
    if request.limit is not None and request.limit < 1:
        raise UsageError(f"the limit must be at least 1 (it is {request.limit})")
    if request.batch_size is not None and not 1 <= request.batch_size <= 10_000:
        raise UsageError(f"the batch size must be from 1 to 10,000 (it is {request.batch_size})")
    if request.limit is not None and request.bot_ids is not None:
        raise UsageError("give either a limit or bots, not both")
    if request.code is not None and request.retry_of is None:
        raise UsageError("a code can only be chosen when retrying a run")
    if request.of_run is not None and (request.bot_ids is not None or request.retry_of):
        raise UsageError("give either a run or bots, not both")
    if request.kind == "validate":
        _check_validation(request)
    elif request.provider != "echo":
        raise UsageError(
            "a migration asks no model: validate its drafts afterwards, with a provider"
        )


def _check_validation(request: Request) -> None:
    if request.dry_run or request.overwrite_edited:
        raise UsageError("a validation writes no drafts: there is no dry run of it")
    if request.validate == "none":
        raise UsageError("a validation without messages would do nothing")


def _trials(request: Request) -> Trials | None:
    wanted = request.validate or ("all" if request.kind == "validate" else "sample:1")
    return trials(wanted, request.messages)


def _batch_size(provider: str, default: int) -> int:
    """Models take seconds: a batch of theirs is small enough to end well within its lease."""
    return default if provider == "echo" else min(default, LIVE_BATCH_SIZE)


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
    return parent


def _plan_chosen(connection: sa.Connection, run: Run, request: Request) -> Planned:
    size = run.options.batch_size
    if request.of_run is not None:
        return batches.plan_same(connection, run.run_id, request.of_run)
    if request.retry_of is not None:
        return batches.plan_retry(
            connection,
            run.run_id,
            request.retry_of,
            size,
            code=request.code,
            bot_ids=request.bot_ids,
        )
    if request.bot_ids is not None:
        _refuse_missing(connection, request.bot_ids)
        return batches.plan_listed(connection, run.run_id, request.bot_ids, size)
    return batches.plan_limit(connection, run.run_id, request.limit or 0, size)


def _refuse_missing(connection: sa.Connection, bot_ids: tuple[str, ...]) -> None:
    missing: list[str] = []
    for start in range(0, len(bot_ids), _LISTED_AT_A_TIME):
        page = bot_ids[start : start + _LISTED_AT_A_TIME]
        missing += batches.missing_bots(connection, page)
    if missing:
        shown = ", ".join(repr(bot_id) for bot_id in missing[:10])
        more = f" and {len(missing) - 10:,} more" if len(missing) > 10 else ""
        raise UsageError(f"no such bot: {shown}{more}")
