"""Park a run: one of its batches waits for all, the others leave the queue."""

from __future__ import annotations

import sqlalchemy as sa

from worker.core.policy.batch_ref import BatchRef
from worker.core.policy.health import Verdict
from worker.db import outbox, parking
from worker.db.engine import map_database_errors


def wait_for_run(engine: sa.Engine, ref: BatchRef, verdict: Verdict) -> bool:
    """Park the run, this batch waiting for it; False if another batch does, or the run is not running.

    Then this batch leaves the queue; it is enqueued again when the run continues.
    """
    with map_database_errors(), engine.begin() as connection:
        if parking.park(connection, ref, verdict):
            return True
        outbox.put_back(connection, [ref])
        return False


def put_back(engine: sa.Engine, ref: BatchRef) -> None:
    """Mark a batch that may not begin as not enqueued; the next enqueuing takes it."""
    with map_database_errors(), engine.begin() as connection:
        outbox.put_back(connection, [ref])


def stop_waiting(engine: sa.Engine, ref: BatchRef) -> None:
    """End the parking: the reason that this batch waited for is gone."""
    with map_database_errors(), engine.begin() as connection:
        parking.unpark(connection, ref)
