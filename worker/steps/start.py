"""Start a run: say what is wanted, check that it can be meant, write it down. Nothing is sent yet."""

from __future__ import annotations

import msgspec
import sqlalchemy as sa

from worker.core.convert import CONVERTER_VERSION
from worker.core.states import OVER
from worker.db import batches, runs
from worker.db.batches import Planned
from worker.db.engine import map_database_errors
from worker.db.runs import Run, RunOptions, Selection
from worker.errors import UsageError

_LISTED_AT_A_TIME = 10_000


class Request(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a person asks for: every field has a name in `flowshift migrate --help`.

    `bot_ids` None means the whole fleet. `retry_of` is a run whose failed bots are taken again, of
    one `code` and of `bot_ids` only where these are given.
    """

    dry_run: bool = False
    bot_ids: tuple[str, ...] | None = None
    limit: int | None = None
    batch_size: int | None = None
    overwrite_edited: bool = False
    retry_of: int | None = None
    code: str | None = None

    @property
    def selection(self) -> Selection:
        """Which bots the run is over."""
        if self.retry_of is not None:
            return "retry"
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
    options = RunOptions(
        selection=request.selection,
        limit=request.limit,
        batch_size=request.batch_size or default_batch_size,
        overwrite_edited=request.overwrite_edited,
    )
    with map_database_errors(), engine.begin() as connection:
        parent = _parent(connection, request)
        run, is_new = runs.create(
            connection,
            request_id=request_id,
            options=options,
            dry_run=request.dry_run or bool(parent and parent.dry_run),
            requested_by=requested_by,
            converter_version=CONVERTER_VERSION,
            parent_run_id=request.retry_of,
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


def _parent(connection: sa.Connection, request: Request) -> Run | None:
    if request.retry_of is None:
        return None
    parent = runs.get(connection, request.retry_of)
    if parent is None:
        raise UsageError(f"there is no run {request.retry_of}")
    if parent.state not in OVER:
        raise UsageError(f"run {parent.run_id} is still {parent.state}: retry it when it is over")
    return parent


def _plan_chosen(connection: sa.Connection, run: Run, request: Request) -> Planned:
    size = run.options.batch_size
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
