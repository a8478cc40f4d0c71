"""Start a run from Python code, with the servers and the settings of this process."""

from __future__ import annotations

from worker.app import app
from worker.db.runs import Run
from worker.queue.dispatch import CeleryQueue
from worker.runtime import runtime
from worker.steps import start
from worker.steps.request import Request


def start_run(
    request: Request, *, request_id: str | None = None, requested_by: str = "python"
) -> Run:
    """Start a run and enqueue its planning; returns the run, in state `planning`.

    On repeat with the same `request_id` nothing new is started, and planning is enqueued again if
    it is not over (harmless: a plan is made once).

    Raises:
        UsageError: the request cannot be carried out; nothing was started.
        ConfigError: it asks models, and none can be asked from here; nothing was started.
        TransientError: PostgreSQL was unavailable (nothing was started), or Redis was (the run waits in
            `planning`; the message names it).
    """
    return start.start_run(
        runtime(), CeleryQueue(app), request, request_id=request_id, requested_by=requested_by
    )
