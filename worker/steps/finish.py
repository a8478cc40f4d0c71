"""Finish a run whose last batch has ended (design section 6, guarantee 6)."""

from __future__ import annotations

import sqlalchemy as sa

from worker.core.policy.batch_ref import BatchRef
from worker.core.policy.progress import Progress
from worker.core.policy.states import final_state
from worker.db import batches, run_progress, run_transitions, runs
from worker.db.engine import map_database_errors
from worker.log import get_logger
from worker.steps.publication.detached import end_rollback

log = get_logger(__name__)


def finish_run(engine: sa.Engine, run_id: int, *, actor: str) -> Progress | None:
    """End the run if no batch is left; returns its last progress if this call ended it, else None.

    Safe to call after every batch, and to repeat.
    """
    with map_database_errors():
        with engine.begin() as connection:
            if not run_transitions.finish_if_last(connection, run_id, actor):
                return None
        with engine.begin() as connection:
            progress = run_progress.read(connection, run_id)
            if progress is None:
                return None
            state = final_state(
                bots_failed=progress.counts.failed, batches_failed=progress.batches_failed
            )
            run = runs.get(connection, run_id)
            if run is not None and run.state == "finishing":
                end_rollback(connection, run, actor=actor)
            if not run_transitions.apply(connection, run_id, state, reason=None, actor=actor):
                return None
            ended = run_progress.read(connection, run_id)
    log.info(
        "run.finished",
        run_id=run_id,
        state=state,
        bots=progress.counts.bots,
        bots_failed=progress.counts.failed,
        duration_s=progress.elapsed_s,
    )
    return ended


def fail_run(engine: sa.Engine, run_id: int, reason: str, *, actor: str) -> None:
    """Record that a run could not be planned."""
    with map_database_errors(), engine.begin() as connection:
        run_transitions.apply(connection, run_id, "failed", reason=reason, actor=actor)


def fail_batch(engine: sa.Engine, ref: BatchRef, error: str) -> None:
    """Record that a batch failed as a whole; its bots have no outcome and `retry` takes them."""
    with map_database_errors(), engine.begin() as connection:
        if batches.fail(connection, ref, error):
            log.error("batch.failed", run_id=ref.run_id, batch=ref.number, error=error)
