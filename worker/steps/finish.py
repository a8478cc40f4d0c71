"""Finish a run whose last batch has ended (design section 6, guarantee 6)."""

from __future__ import annotations

import sqlalchemy as sa

from worker.core.notify.runs import run_ended
from worker.core.policy.batch_ref import BatchRef
from worker.core.policy.progress import Progress
from worker.core.policy.states import RunState, final_state
from worker.db import batches, notifications, run_progress, run_results, run_transitions, runs
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
            _tell(connection, run_id, state, progress)
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


def _tell(connection: sa.Connection, run_id: int, state: RunState, progress: Progress) -> None:
    kind = runs.kind_of(connection, run_id)
    failed = progress.counts.failed
    event = run_ended(
        run_id,
        kind or "convert",
        state,
        bots=progress.counts.bots,
        bots_failed=failed,
        batches_failed=progress.batches_failed,
        codes=run_results.codes(connection, run_id) if failed else {},
    )
    notifications.notify(connection, event)


def fail_run(engine: sa.Engine, run_id: int, reason: str, *, actor: str) -> None:
    """Record that a run could not be planned."""
    with map_database_errors(), engine.begin() as connection:
        if run_transitions.apply(connection, run_id, "failed", reason=reason, actor=actor):
            kind = runs.kind_of(connection, run_id) or "convert"
            notifications.notify(connection, run_ended(run_id, kind, "failed", reason=reason))


def fail_batch(engine: sa.Engine, ref: BatchRef, error: str) -> None:
    """Record that a batch failed as a whole; its bots have no outcome and `retry` takes them."""
    with map_database_errors(), engine.begin() as connection:
        if batches.fail(connection, ref, error):
            log.error("batch.failed", run_id=ref.run_id, batch=ref.number, error=error)
