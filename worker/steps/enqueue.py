"""Enqueue a run's batches: a window of them, so that a fleet of any size fills no Redis."""

from __future__ import annotations

import sqlalchemy as sa

from worker.db import batches
from worker.db.engine import map_database_errors
from worker.queue.dispatch import Queue


def top_up(engine: sa.Engine, queue: Queue, run_id: int, *, window: int) -> int | None:
    """Enqueue what is missing of the first `window` batches of a run that are not over.

    Returns None, or, where the queue is away, the number of a batch that the caller must do itself:
    the work goes on without the queue, to its end if need be. Nothing is enqueued of a run that is
    paused, over, or parked by a batch that waits. Calling it again enqueues nothing twice.

    Raises:
        TransientError: the database was away.
    """
    with map_database_errors(), engine.begin() as connection:
        taken = batches.take_to_publish(connection, run_id, window)
    unsent = [batch.number for batch in taken if not queue.enqueue_batch(run_id, batch)]
    if not unsent and not queue.is_away:
        return None
    with map_database_errors(), engine.begin() as connection:
        batches.unpublish(connection, run_id, unsent)
        return batches.any_pending(connection, run_id)
