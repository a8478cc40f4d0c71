"""A run for a page: what it came to with examples, how it went over time, and its failures by the page."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping, Sequence
from typing import Final

import msgspec
import sqlalchemy as sa

from worker.core.parity.overhead import Summary as Overhead
from worker.core.policy.progress import Progress
from worker.db import control, run_pace, run_progress, run_results, runs
from worker.db.control import Entry
from worker.db.engine import map_database_errors
from worker.db.run_pace import Pace
from worker.db.run_results import Example, Failure
from worker.db.runs import Run
from worker.steps import find

PAGE: Final = 50
CODES_SHOWN: Final = 40
AUDIT_SHOWN: Final = 20


class AddedUp(msgspec.Struct, frozen=True):
    """V2's time over V1's in a run, None if nothing was executed; and when it was added up if not now."""

    overhead: Overhead | None
    added_at: dt.datetime | None = None


def add_up(connection: sa.Connection, progress: Progress) -> AddedUp:
    """Add up now: of 2,000 batches it takes some tens of milliseconds."""
    return AddedUp(run_results.overhead(connection, progress.run_id))


class RunPage(msgspec.Struct, frozen=True, kw_only=True):
    """A run at one moment.

    `codes` counts bots by `outcome:code`; `examples` are the first two bots of each, none if what the run
    did for each bot was pruned. `audit` is the newest last.
    """

    run: Run
    progress: Progress
    codes: Mapping[str, int]
    examples: Mapping[str, Sequence[Example]]
    failed_batches: Sequence[tuple[int, str]]
    added: AddedUp
    pace: Pace
    audit: Sequence[Entry]


class Failures(msgspec.Struct, frozen=True):
    """A page of failed bots, by code and bot; the next page follows the code and bot of `more_after`."""

    found: Sequence[Failure]
    more_after: tuple[str, str] | None


def read_run_page(
    engine: sa.Engine,
    run_id: int,
    *,
    overhead_of: Callable[[sa.Connection, Progress], AddedUp] = add_up,
) -> RunPage:
    """Read a run by what its batches counted: no row of a bot is read but the examples.

    `overhead_of` adds up V2's time over V1's.

    Raises:
        NotFoundError: there is no such run.
        TransientError: the database was unavailable.
    """
    with map_database_errors(), engine.connect() as connection:
        progress = run_progress.read(connection, run_id)
        if progress is None:
            raise find.unknown_run(run_id)
        codes = run_results.codes(connection, run_id)
        return RunPage(
            run=runs.existing(connection, run_id),
            progress=progress,
            codes=codes,
            examples={
                key: run_results.examples(connection, run_id, key)
                for key in list(codes)[:CODES_SHOWN]
            },
            failed_batches=run_results.failed_batches(connection, run_id),
            added=overhead_of(connection, progress),
            pace=run_pace.pace(connection, run_id, progress.batches_done + progress.batches_failed),
            audit=control.trail(connection, run_id, AUDIT_SHOWN),
        )


def read_failures(
    engine: sa.Engine,
    run_id: int,
    *,
    code: str | None = None,
    begins: str = "",
    after: tuple[str, str] | None = None,
) -> Failures:
    """The next failed bots of a run, with this code, whose ids begin so.

    Raises:
        TransientError: the database was unavailable.
    """
    with map_database_errors(), engine.connect() as connection:
        found = run_results.failures(
            connection, run_id, limit=PAGE + 1, code=code, begins=begins, after=after
        )
    if len(found) <= PAGE:
        return Failures(found, None)
    last = found[PAGE - 1]
    return Failures(found[:PAGE], (last.code, last.bot_id))
