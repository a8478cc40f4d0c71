"""Whether the beat sends the gate's tick: only if a publication moves, and a worker will take it."""

from __future__ import annotations

from worker.core.policy.processes import MISSED_MAX
from worker.db.engine import map_database_errors
from worker.db.publication import turns
from worker.queue.dispatch import Queue
from worker.runtime import Runtime
from worker.steps.processes import any_worker_works


def is_tick_due(current: Runtime, queue: Queue) -> bool:
    """Whether a publication is not over, and a publisher works or nothing waits for one.

    While no publisher works, one message waits for the next one, and no second is added. That a
    worker was killed is known when its heartbeats are missing; until then messages may be added.

    Raises:
        TransientError: the database was unavailable.
    """
    with map_database_errors(), current.engine.connect() as connection:
        if not turns.open_publications(connection):
            return False
    within_s = float(MISSED_MAX * current.settings.heartbeat_s)
    if any_worker_works(current.engine, "publish", within_s=within_s):
        return True
    return queue.is_empty("publish")
