"""Recorded executions, as commands show them: a list, and one node by node."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import sqlalchemy as sa

from worker.core.printable import escape
from worker.db import executions, inspect, runs
from worker.db.engine import map_database_errors
from worker.db.executions import Execution, NodeExecution, Whole
from worker.errors import NotFoundError, UsageError
from worker.steps import find

_IDS_NAMED = 5

COUNTED = 10_000
"""So many executions of a bot are counted at most."""


class Recorded(msgspec.Struct, frozen=True):
    """An execution whole, with its nodes in the order in which they ran."""

    whole: Whole
    nodes: Sequence[NodeExecution]


def list_executions(
    engine: sa.Engine, limit: int, *, bot_id: str | None, run_id: int | None, failed: bool
) -> list[Execution]:
    """The newest executions first, at most `limit`: of a bot, else of a run, else of all.

    Raises:
        UsageError: there is no such bot or run.
        TransientError: the database was unavailable.
    """
    with map_database_errors(), engine.connect() as connection:
        if bot_id is not None:
            find.bot(connection, bot_id)
            return executions.of_bot(connection, bot_id, limit, failed=failed)
        if run_id is None:
            return executions.newest(connection, limit, failed=failed)
        found = executions.of_run(connection, run_id, limit, failed=failed)
        if not found:
            _refuse_unknown_run(connection, run_id)
        return found


class Page(msgspec.Struct, frozen=True):
    """A part of a bot's executions; `total` is the least that there are if `is_at_least`."""

    items: Sequence[Execution]
    total: int
    is_at_least: bool


def page_of_bot(engine: sa.Engine, bot_id: str, *, limit: int, offset: int) -> Page:
    """The executions of a bot, the newest first, after the first `offset` of them.

    Raises:
        NotFoundError: there is no such bot.
        TransientError: the database was unavailable.
    """
    with map_database_errors(), engine.connect() as connection:
        find.bot(connection, bot_id)
        items = executions.of_bot(connection, bot_id, limit, offset=offset)
        total = executions.count_of_bot(connection, bot_id, most=COUNTED + 1)
    return Page(items, min(total, COUNTED), total > COUNTED)


def _refuse_unknown_run(connection: sa.Connection, run_id: int) -> None:
    if runs.get(connection, run_id) is not None:
        return
    if inspect.bot(connection, str(run_id)) is None:
        raise find.unknown_run(run_id)
    hint = f"for the bot of that id: flowshift executions --bot {run_id}"
    raise NotFoundError(f"{find.no_run(run_id)}; {hint}")


def read_execution(engine: sa.Engine, prefix: str) -> Recorded:
    """The execution whose id begins with `prefix`.

    Raises:
        UsageError: there is none, or there are several.
        TransientError: the database was unavailable.
    """
    with map_database_errors(), engine.connect() as connection:
        whole = _found(connection, prefix)
        return Recorded(whole, executions.nodes(connection, whole.execution.execution_id))


def _found(connection: sa.Connection, prefix: str) -> Whole:
    ids = executions.ids_like(connection, prefix)
    if len(ids) > 1:
        shown = ", ".join(str(one) for one in ids[:_IDS_NAMED])
        more = " …" if len(ids) > _IDS_NAMED else ""
        raise UsageError(f"several executions begin with {escape(prefix)}: {shown}{more}")
    whole = executions.whole(connection, ids[0]) if ids else None
    if whole is None:
        raise NotFoundError(f"there is no execution {escape(prefix)}")
    return whole
