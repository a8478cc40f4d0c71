"""The gate's tick in a worker: with its health checks, within the time limit of a task, shown in Flower."""

from __future__ import annotations

from worker.db.engine import map_database_errors
from worker.db.publication import turns
from worker.queue.limits import time_limit
from worker.steps.batch.process import Process
from worker.steps.publication.look import look
from worker.steps.publication.tick import said_of, tick


def tick_and_report(process: Process) -> str:
    """One tick of all publications; returns what it did, in words.

    Raises:
        TransientError: the database was unavailable; the next tick does it.
    """
    current = process.runtime
    with time_limit(current.settings.time_limit_s):
        done = tick(
            current,
            process.queue.messages,
            look,
            process.throttle.check,
            fresh_s=current.settings.gate_s / 2,
        )
    with map_database_errors(), current.engine.connect() as connection:
        open_now = set(turns.open_publications(connection)) if done else set()
    for one in done:
        is_over = one.publication_id not in open_now
        process.reporter.report_gate(one.publication_id, one.said, is_over=is_over)
    return said_of(done)
