"""Control a run: pause, resume, cancel, tune. Each change is shown to programs that read Redis."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from worker.db import control, run_progress
from worker.db.control import Entry
from worker.db.engine import map_database_errors
from worker.errors import TransientError
from worker.progress.redis import RedisPublisher
from worker.queue.dispatch import Queue
from worker.runtime import Runtime
from worker.steps import find, transitions
from worker.steps.enqueue import top_up
from worker.steps.finish import finish_run
from worker.steps.tuning import Tuning, tune


def pause_run(current: Runtime, run_id: int, *, actor: str, reason: str | None) -> bool:
    """Pause a run; False if it was paused already. It takes effect within a batch.

    Raises:
        UsageError: there is no such run, it is still being planned, or it is over.
        TransientError: the database was unavailable.
    """
    changed = transitions.pause(current.engine, run_id, actor=actor, reason=reason)
    _report(current, run_id)
    return changed


def resume_run(
    current: Runtime, queue: Queue, run_id: int, *, actor: str, reason: str | None
) -> bool:
    """Let a paused run continue; False if it was running already. Missing batches are enqueued.

    If the queue is unavailable (`queue.failed_last`), the beat enqueues them later.

    Raises:
        UsageError: there is no such run, or it is neither paused nor running.
        TransientError: the database was unavailable.
    """
    changed = transitions.resume(current.engine, run_id, actor=actor, reason=reason)
    finish_run(current.engine, run_id, actor=actor)
    top_up(current.engine, queue, run_id, window=current.settings.batch_window)
    _report(current, run_id)
    return changed


def cancel_run(current: Runtime, run_id: int, *, actor: str, reason: str | None) -> bool:
    """End a run; False if it was cancelled already. Bots that are converted stay so.

    Raises:
        UsageError: there is no such run, or it ended otherwise.
        TransientError: the database was unavailable.
    """
    changed = transitions.cancel(current.engine, run_id, actor=actor, reason=reason)
    _report(current, run_id)
    return changed


def tune_run(
    current: Runtime, queue: Queue, run_id: int, tuning: Tuning, *, actor: str
) -> dict[str, Any]:
    """Change the limits of an active run; returns what changed as {name: [old, new]}.

    The next batch obeys. Batches that fit into the queue now are enqueued; if the queue is unavailable
    (`queue.failed_last`), the beat enqueues them later.

    Raises:
        UsageError: there is no such run, it is over, or a limit is out of bounds.
        TransientError: the database was unavailable.
    """
    changed = tune(current.engine, run_id, tuning, actor=actor)
    top_up(current.engine, queue, run_id, window=current.settings.batch_window)
    return changed


def audit_trail(
    engine: sa.Engine, run_id: int | None, limit: int, *, before: int | None = None
) -> list[Entry]:
    """The newest `limit` entries of a run, or of all runs if `run_id` is None; the newest last.

    With `before` those that are older than the entry of that id.

    Raises:
        UsageError: there is no such run.
        TransientError: the database was unavailable.
    """
    with map_database_errors(), engine.connect() as connection:
        if run_id is not None:
            find.run(connection, run_id)
        return control.trail(connection, run_id, limit, before=before)


def _report(current: Runtime, run_id: int) -> None:
    """Show programs that read Redis the new state at once; the beat does so later if this fails."""
    try:
        with map_database_errors(), current.engine.connect() as connection:
            progress = run_progress.read(connection, run_id)
    except TransientError:
        return
    if progress is not None:
        settings = current.settings
        publisher = RedisPublisher(current.redis, settings.namespace, settings.progress_keep_s)
        publisher.publish(progress)


def any_at_work(engine: sa.Engine, run_id: int) -> bool:
    """Whether a live worker has a batch of this run.

    Raises:
        TransientError: the database was unavailable.
    """
    with map_database_errors(), engine.connect() as connection:
        return control.any_at_work(connection, run_id)
