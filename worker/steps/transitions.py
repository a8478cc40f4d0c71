"""Pause, resume and cancel a run in the database.

Nothing is sent to workers: a claim and an enqueuing read the run's row. So a change takes effect at
the next batch, wherever the workers are and whether or not Redis answers.
"""

from __future__ import annotations

import sqlalchemy as sa

from worker.core.notify.runs import run_ended
from worker.core.policy.states import OVER, RunState, words
from worker.db import notifications, outbox, run_transitions, runs
from worker.db.engine import map_database_errors
from worker.db.runs import Run
from worker.errors import ConflictError
from worker.log import get_logger
from worker.steps import find
from worker.steps.publication.detached import end_rollback

log = get_logger(__name__)


def pause(engine: sa.Engine, run_id: int, *, actor: str, reason: str | None) -> bool:
    """Pause a running run: batches that a worker has commit, no other begins. False if it was paused.

    Raises:
        UsageError: there is no such run, it is still being planned, or it is over.
        TransientError: the database was unavailable.
    """
    run = _change(engine, run_id, "paused", actor=actor, reason=reason or f"asked by {actor}")
    if run is None or run.state == "paused":
        return run is None
    if run.state == "planning":
        raise ConflictError(
            f"run {run_id} is still being planned: pause it when it runs, or cancel it"
        )
    raise ConflictError(f"run {run_id} is {words(run.state)}: it cannot be paused any more")


def resume(engine: sa.Engine, run_id: int, *, actor: str, reason: str | None) -> bool:
    """Let a paused run continue; False if it was running. Enqueue its batches afterwards.

    None of them counts as enqueued: messages that came while it was paused were dropped.

    Raises:
        UsageError: there is no such run, or it is not paused.
        TransientError: the database was unavailable.
    """
    with map_database_errors():
        with engine.begin() as connection:  # no batch is claimed while it is paused
            run = find.run(connection, run_id)
            if run.state == "paused":
                outbox.put_back_all(connection, run_id)
        if run.state not in ("paused", "running"):
            raise ConflictError(f"run {run_id} is {words(run.state)}, not paused")
        with engine.begin() as connection:
            changed = run_transitions.apply(
                connection, run_id, "running", reason=None, actor=actor, why=reason
            )
    if changed:
        log.info("run.resumed", run_id=run_id, actor=actor)
    return changed


def cancel(engine: sa.Engine, run_id: int, *, actor: str, reason: str | None) -> bool:
    """End a run: batches that a worker has commit, no other begins. False if it was cancelled.

    Bots that are converted stay converted.

    Raises:
        UsageError: there is no such run, or it ended otherwise.
        TransientError: the database was unavailable.
    """
    run = _change(engine, run_id, "cancelled", actor=actor, reason=reason or f"asked by {actor}")
    if run is None or run.state == "cancelled":
        return run is None
    raise ConflictError(f"run {run_id} is {words(run.state)}: there is nothing to cancel")


def _change(
    engine: sa.Engine, run_id: int, state: RunState, *, actor: str, reason: str
) -> Run | None:
    """Take a run to `state`; None if this call did, else the run as it is."""
    with map_database_errors(), engine.begin() as connection:
        run = find.run(connection, run_id)
        if state == "cancelled" and run.state not in OVER:
            end_rollback(connection, run, actor=actor)
        if not run_transitions.apply(connection, run_id, state, reason=reason, actor=actor):
            return runs.get(connection, run_id) or run
        if state == "cancelled":
            event = run_ended(run_id, run.kind, state, reason=f"{reason} (by {actor})")
            notifications.notify(connection, event)
    log.info("run.stopped", run_id=run_id, state=state, actor=actor, reason=reason)
    return None
