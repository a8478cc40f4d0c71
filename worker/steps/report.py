"""What a run came to so far: its progress, its outcomes by code, its failures."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec
import sqlalchemy as sa

from worker.core.parity.overhead import Summary as Overhead
from worker.core.policy.progress import Progress
from worker.db import run_progress, run_results, runs
from worker.db.engine import map_database_errors
from worker.db.run_results import Failure, OutcomeRow
from worker.db.runs import Run
from worker.steps import find


class RunReport(msgspec.Struct, frozen=True, kw_only=True):
    """A run as the database has it.

    `codes` counts bots by `outcome:code`; `failed_batches` are numbers with the error of each.
    `overhead` is None if no draft was compared.
    """

    run: Run
    progress: Progress
    codes: dict[str, int]
    failures: Sequence[Failure]
    failed_batches: Sequence[tuple[int, str]]
    overhead: Overhead | None

    @property
    def has_failures(self) -> bool:
        """Whether a bot or a whole batch failed."""
        return bool(self.progress.counts.failed or self.progress.batches_failed)

    @property
    def is_good(self) -> bool:
        """Whether nothing failed, and the run was neither cancelled nor given up."""
        return not self.has_failures and self.progress.state not in ("failed", "cancelled")


def report_run(engine: sa.Engine, run_id: int, *, most_failures: int | None = None) -> RunReport:
    """Read a run with its first `most_failures` failed bots, or with all of them.

    Raises:
        UsageError: there is no such run.
        TransientError: the database was unavailable.
    """
    with map_database_errors(), engine.connect() as connection:
        progress = _existing(run_progress.read(connection, run_id), run_id)
        return RunReport(
            run=runs.existing(connection, run_id),
            progress=progress,
            codes=run_results.codes(connection, run_id),
            failures=run_results.failures(connection, run_id, limit=most_failures),
            failed_batches=run_results.failed_batches(connection, run_id),
            overhead=run_results.overhead(connection, run_id),
        )


def progress_of(engine: sa.Engine, run_id: int) -> Progress:
    """How far a run is.

    Raises:
        UsageError: there is no such run.
        TransientError: the database was unavailable.
    """
    with map_database_errors(), engine.connect() as connection:
        return _existing(run_progress.read(connection, run_id), run_id)


def latest_run(engine: sa.Engine) -> int | None:
    """The number of the newest run; None if there are no runs.

    Raises:
        TransientError: the database was unavailable.
    """
    with map_database_errors(), engine.connect() as connection:
        found = runs.latest(connection, 1)
    return found[0].run_id if found else None


def newest_runs(
    engine: sa.Engine, limit: int, *, before: int | None = None
) -> list[tuple[Run, Progress]]:
    """At most `limit` runs with their progress, the newest first; with `before` older than that run.

    Raises:
        TransientError: the database was unavailable.
    """
    with map_database_errors(), engine.connect() as connection:
        found = runs.latest(connection, limit, before=before)
        progress = run_progress.read_each(connection, [run.run_id for run in found])
    return [(run, progress[run.run_id]) for run in found if run.run_id in progress]


def outcomes_of(engine: sa.Engine, run_id: int) -> Iterator[OutcomeRow]:
    """What a run did for each of its bots, in the order of their ids, a page at a time.

    Raises:
        TransientError: the database was unavailable.
    """
    with map_database_errors(), engine.connect() as connection:
        yield from run_results.outcomes(connection, run_id)


def _existing(progress: Progress | None, run_id: int) -> Progress:
    if progress is None:
        raise find.unknown_run(run_id)
    return progress
