"""The bots of a run that is not over the whole fleet: their batches are made when the run is recorded."""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa

from worker.core.policy.states import OVER, words
from worker.db import planning
from worker.db.planning import Planned
from worker.db.publication import waves
from worker.db.runs import Run
from worker.errors import ConflictError, UsageError
from worker.steps import find
from worker.steps.request import Request

_LISTED_AT_A_TIME: Final = 10_000


def parent_of(connection: sa.Connection, request: Request) -> Run | None:
    """The run that a request retries or validates; None if it names none.

    Raises:
        UsageError: there is no such run, it is still active, or its outcomes were pruned.
    """
    parent_run_id = request.of_run if request.retry_of is None else request.retry_of
    if parent_run_id is None:
        return None
    parent = find.run(connection, parent_run_id)
    if parent.state not in OVER:
        what = "validate" if request.retry_of is None else "retry"
        raise ConflictError(
            f"run {parent.run_id} is still {words(parent.state)}: {what} it when it is over"
        )
    if request.retry_of is not None and parent.kind == "publish":
        raise UsageError(_published(connection, parent.run_id))
    if request.retry_of is not None and parent.kind == "roll_back":
        raise UsageError(
            f"run {parent.run_id} rolled back: `flowshift rollback` takes back what it left"
        )
    if parent.ledger_pruned_at is not None:
        raise ConflictError(f"the outcomes of run {parent.run_id} were pruned: start a new run")
    return parent


def _published(connection: sa.Connection, run_id: int) -> str:
    place = waves.of_run(connection, run_id)
    number = "N" if place is None else str(place[0])
    return (
        f"run {run_id} published: `flowshift retry --publication {number}` converts, proves and publishes"
        " what was taken back; `flowshift go` publishes what its batches left"
    )


def plan_chosen(connection: sa.Connection, run: Run, request: Request) -> Planned:
    """Make the batches of a run over chosen bots.

    Raises:
        UsageError: a bot does not exist, or there is nothing to retry.
    """
    size = run.options.batch_size
    if request.of_run is not None:
        return planning.plan_same(connection, run.run_id, request.of_run)
    if request.retry_of is not None:
        return _plan_retry(connection, run, request, request.retry_of)
    if request.bot_ids is not None:
        _refuse_missing(connection, request.bot_ids)
        return planning.plan_listed(connection, run.run_id, request.bot_ids, size)
    return planning.plan_limit(connection, run.run_id, request.limit or 0, size)


def _plan_retry(connection: sa.Connection, run: Run, request: Request, of: int) -> Planned:
    planned = planning.plan_retry(
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
        missing += planning.missing_bots(connection, page)
    if missing:
        shown = ", ".join(repr(bot_id) for bot_id in missing[:10])
        more = f" and {len(missing) - 10:,} more" if len(missing) > 10 else ""
        raise UsageError(f"no such bot: {shown}{more}")
