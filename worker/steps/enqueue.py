"""Enqueue a run's batches: a window of them, so that a fleet of any size fills no Redis."""

from __future__ import annotations

import sqlalchemy as sa

from worker.core.policy.batch_ref import BatchRef
from worker.db import outbox, runs
from worker.db.engine import map_database_errors
from worker.db.outbox import ToEnqueue
from worker.queue.dispatch import Queue
from worker.runtime import Runtime


def top_up(engine: sa.Engine, queue: Queue, run_id: int, *, window: int) -> BatchRef | None:
    """Enqueue what is missing of the first `window` batches of a run that no worker has begun.

    Returns None, or, if the queue is unavailable, a batch that the caller must do itself: the work goes on
    without the queue, to its end if need be. Nothing is enqueued of a run that is paused, over or
    parked. Calling it again enqueues nothing twice.

    Raises:
        TransientError: the database was unavailable.
    """
    with map_database_errors(), engine.begin() as connection:
        taken = outbox.take(connection, run_id, window)
    unsent = [batch.ref for batch in taken if not queue.enqueue_batch(batch)]
    if not unsent and not queue.is_away:
        return None
    with map_database_errors(), engine.begin() as connection:
        outbox.put_back(connection, unsent)
        return outbox.any_pending(connection, run_id)


class BatchQueue:
    """The queue of one process, and the outbox that fills it."""

    def __init__(self, runtime: Runtime, messages: Queue) -> None:
        self.messages = messages
        self._runtime = runtime

    def top_up(self, run_id: int) -> BatchRef | None:
        """Enqueue what is missing of a run's window: see `top_up`, also for what it returns."""
        window = self._runtime.settings.batch_window
        return top_up(self._runtime.engine, self.messages, run_id, window=window)

    def hand_on(self, ref: BatchRef) -> bool:
        """Send the message of a batch again, behind those that wait; says whether it was sent."""
        with map_database_errors(), self._runtime.engine.connect() as connection:
            kind = runs.kind_of(connection, ref.run_id)
        if kind is None:
            return False
        return self.messages.enqueue_batch(ToEnqueue(ref, "waits for its turn", kind))
