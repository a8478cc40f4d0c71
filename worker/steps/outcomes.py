"""Failures and warnings of bots, in one run or over the fleet: by code, and each of them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import msgspec
import sqlalchemy as sa

from worker.core.codes import REMEDIES
from worker.db import outcomes
from worker.db.engine import map_database_errors
from worker.db.outcomes import Found, Group, Kind
from worker.errors import NotFoundError
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


class FailedPage(msgspec.Struct, frozen=True):
    """A page of failed bots; `next` is what `after` takes for the next one, None on the last."""

    items: tuple[Found, ...]
    next: str | None


def page_of_failures(
    engine: sa.Engine, run_id: int, *, limit: int, code: str | None = None, after: str | None = None
) -> FailedPage:
    """The bots that failed in a run, by code and bot; of a run that publishes those that it skipped too.

    `after` is the `next` of the page before.

    Raises:
        NotFoundError: there is no such run.
        UsageError: its outcomes were pruned.
        TransientError: the database was unavailable.
    """
    _refuse_pruned(engine, run_id)
    passed = None if after is None else after.partition("/")[::2]
    with map_database_errors(), engine.connect() as connection:
        found = outcomes.page(connection, run_id, limit=limit + 1, code=code, after=passed)
    more = len(found) > limit
    items = tuple(found[:limit])
    return FailedPage(items, f"{items[-1].code}/{items[-1].bot_id}" if more else None)


def failed_pages(
    engine: sa.Engine, run_id: int, *, code: str | None = None, size: int = 1_000
) -> Iterator[tuple[Found, ...]]:
    """All of them, page by page: nothing of the database is kept between two. A run is checked at once.

    Raises:
        NotFoundError: there is no such run.
        UsageError: its outcomes were pruned.
        TransientError: the database was unavailable, at once or at any page.
    """
    _refuse_pruned(engine, run_id)

    def pages() -> Iterator[tuple[Found, ...]]:
        after: str | None = None
        while True:
            page = page_of_failures(engine, run_id, limit=size, code=code, after=after)
            yield page.items
            if (after := page.next) is None:
                return

    return pages()


def _each(engine: sa.Engine, kind: Kind, run_id: int | None, code: str | None) -> Iterator[Found]:
    with map_database_errors(), engine.connect() as connection:
        yield from outcomes.each(connection, kind, run_id=run_id, code=code)


def _refuse_pruned(engine: sa.Engine, run_id: int | None) -> None:
    if run_id is None:
        return
    with map_database_errors(), engine.connect() as connection:
        run = find.run(connection, run_id)
    if run.ledger_pruned_at is not None:
        raise NotFoundError(f"the outcomes of run {run_id} were pruned: only its counts are left")
