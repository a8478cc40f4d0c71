"""Park a run: one of its batches waits for all, the others leave the queue."""

from __future__ import annotations

import sqlalchemy as sa

from worker.core.policy.health import Verdict
from worker.db import batches, control
from worker.db.engine import map_database_errors


def wait_for_run(engine: sa.Engine, run_id: int, number: int, verdict: Verdict) -> bool:
    """Park the run, this batch waiting for it; False if another batch does, or the run is not running.

    Then this batch leaves the queue; it is enqueued again when the run continues.
    """
    with map_database_errors(), engine.begin() as connection:
        if control.hold(connection, run_id, number, verdict):
            return True
        batches.unpublish(connection, run_id, [number])
        return False


def give_back(engine: sa.Engine, run_id: int, number: int) -> None:
    """Mark a batch that may not begin as not enqueued; the next enqueuing takes it."""
    with map_database_errors(), engine.begin() as connection:
        batches.unpublish(connection, run_id, [number])


def stop_waiting(engine: sa.Engine, run_id: int, number: int) -> None:
    """End the parking: the reason that this batch waited for is gone."""
    with map_database_errors(), engine.begin() as connection:
        control.release(connection, run_id, number)
