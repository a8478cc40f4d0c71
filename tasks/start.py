"""Start a run from Python code, with the servers and the settings of this process."""

from __future__ import annotations

import uuid

from worker.app import app
from worker.db.runs import ECHO, Run
from worker.errors import QueueAwayError, TransientError
from worker.providers import live
from worker.queue.dispatch import CeleryQueue
from worker.runtime import runtime
from worker.steps.start import Request
from worker.steps.start import start_run as write_run


def start_run(
    request: Request, *, request_id: str | None = None, requested_by: str = "python"
) -> Run:
    """Start a run and enqueue its planning; returns the run, in state `planning`.

    On repeat with the same `request_id` nothing new is started, and planning is enqueued again if
    it is not over (harmless: a plan is made once).

    Raises:
        UsageError: the request cannot be carried out; nothing was started.
        ConfigError: it asks models, and none can be asked from here; nothing was started.
        TransientError: PostgreSQL was away (nothing was started), or Redis was (the run waits in
            `planning`; the message names it).
    """
    current = runtime()
    if request.provider != ECHO:
        live.check(current.live)
    run = write_run(
        current.engine,
        request,
        request_id=request_id or str(uuid.uuid4()),
        requested_by=requested_by,
        default_batch_size=current.settings.batch_size,
        default_max_failures=current.settings.max_failures,
        backup=current.settings.backup,
    )
    if run.state == "planning":
        try:
            CeleryQueue(app).enqueue_plan(run.run_id)
        except QueueAwayError as error:
            raise TransientError(
                f"run {run.run_id} is written down but Redis is away, so nobody is told of it: "
                f"{error}"
            ) from error
    return run
