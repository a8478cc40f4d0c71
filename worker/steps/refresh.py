"""Report every run and publication again: after Redis lost its keys, or a message was lost."""

from __future__ import annotations

from worker.db import run_progress, runs
from worker.db.engine import map_database_errors
from worker.db.publication import outline
from worker.steps.batch.process import Process


def report_all(process: Process) -> int | None:
    """Report every recent run and publication; returns how many runs, None if another just did.

    What should be in the queue is enqueued: a person may have resumed a run, or a wait may have
    ended, while the queue was unavailable. Harmless from two beats at once: counts are absolute.

    Raises:
        TransientError: the database was unavailable.
    """
    if not process.reporter.claim_refresh():
        return None
    with map_database_errors(), process.runtime.engine.connect() as connection:
        found = [
            progress
            for run_id in runs.recent_ids(connection)
            if (progress := run_progress.read(connection, run_id)) is not None
        ]
        publications = outline.recent(connection)
    for one in publications:
        process.reporter.report_publication(one)
    for progress in found:
        process.reporter.report(progress)
        if progress.state == "running":
            process.queue.top_up(progress.run_id)
    return len(found)
