"""Failures and warnings of bots, in one run or over the fleet: by code, and each of them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import sqlalchemy as sa

from worker.core.codes import REMEDIES
from worker.db import outcomes
from worker.db.engine import map_database_errors
from worker.db.outcomes import Found, Group, Kind
from worker.errors import UsageError
from worker.steps import find

HEADER: Final = ("bot_id", "code", "run_id", "node", "message", "next")
"""The columns of the CSV."""


def cells(found: Found) -> tuple[object, ...]:
    """A failure or a warning as a row of the CSV."""
    next_ = REMEDIES.get(found.code)
    return found.bot_id, found.code, found.run_id, found.node, found.message, next_


def outcomes_by_code(
    engine: sa.Engine, kind: Kind, *, run_id: int | None, code: str | None
) -> list[Group]:
    """By code, the most frequent first, with two examples each.

    Raises:
        UsageError: there is no such run, or its outcomes were pruned.
        TransientError: the database was unavailable.
    """
    _refuse_pruned(engine, run_id)
    with map_database_errors(), engine.connect() as connection:
        return outcomes.groups(connection, kind, run_id=run_id, code=code)


def each_outcome(
    engine: sa.Engine, kind: Kind, *, run_id: int | None, code: str | None
) -> Iterator[Found]:
    """Every one, by code and bot, as the database sends them. A run is checked at once.

    Raises:
        UsageError: there is no such run, or its outcomes were pruned.
        TransientError: the database was unavailable, at once or at any row.
    """
    _refuse_pruned(engine, run_id)
    return _each(engine, kind, run_id, code)


def _each(engine: sa.Engine, kind: Kind, run_id: int | None, code: str | None) -> Iterator[Found]:
    with map_database_errors(), engine.connect() as connection:
        yield from outcomes.each(connection, kind, run_id=run_id, code=code)


def _refuse_pruned(engine: sa.Engine, run_id: int | None) -> None:
    if run_id is None:
        return
    with map_database_errors(), engine.connect() as connection:
        run = find.run(connection, run_id)
    if run.ledger_pruned_at is not None:
        raise UsageError(f"the outcomes of run {run_id} were pruned: only its counts are left")
