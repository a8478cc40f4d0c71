"""Plan a run: split the fleet into batches by key range, then let the run begin."""

from __future__ import annotations

import sqlalchemy as sa

from worker.db import planning, run_transitions, runs
from worker.db.engine import map_database_errors
from worker.db.runs import Run
from worker.errors import StaleError
from worker.log import get_logger
from worker.steps import find

log = get_logger(__name__)

BATCHES_A_STEP = 200
"""Batches planned in one short transaction: 100,000 bots of a fleet, with batches of 500."""


def plan_run(engine: sa.Engine, run_id: int, *, actor: str) -> None:
    """Put every bot into a batch, then take the run from `planning` to `running`.

    In short transactions, each of which keeps how far it came: a planner that takes over goes on
    from there, and of two at once the second waits for the first's step and adds the next.

    Raises:
        StaleError: the run is not being planned (any more).
        TransientError: the database was unavailable; calling again goes on.
    """
    with map_database_errors():
        while True:
            with engine.begin() as connection:
                run = runs.get(connection, run_id, lock=True)
                if run is None:
                    raise StaleError(find.no_run(run_id))
                if run.state != "planning":
                    raise StaleError(f"run {run_id} is {run.state}, not planning")
                if run.options.selection != "all" or not _plan_step(connection, run):
                    run_transitions.apply(connection, run_id, "running", reason=None, actor=actor)
                    break
    log.info("run.planned", run_id=run_id, batches=run.batch_count, bots=run.bot_count)


def _plan_step(connection: sa.Connection, run: Run) -> bool:
    """Add the next batches; False if every bot is in one."""
    planned = planning.plan_ranges(
        connection,
        run.run_id,
        after=run.planned_through,
        first_number=run.batch_count + 1,
        batch_size=run.options.batch_size,
        max_batches=BATCHES_A_STEP,
    )
    if planned.batches == 0:
        return False
    runs.note_planned(
        connection,
        run.run_id,
        through=planned.through,
        batch_count=run.batch_count + planned.batches,
        bot_count=run.bot_count + planned.bots,
    )
    return True
