"""What a task works with: made once for each process of a worker, again after a fork."""

from __future__ import annotations

from typing import Any

import structlog
from celery import Task

from worker.app import app
from worker.progress.reporter import Reporter
from worker.queue.dispatch import CeleryQueue
from worker.runtime import runtime
from worker.steps.batch.process import Process

_process: Process | None = None


def begin(task: Task[Any, Any], **ids: object) -> Process:
    """Bind the ids to every log line of this task; returns what the task works with."""
    global _process  # noqa: PLW0603  (one per process is the point)
    structlog.contextvars.clear_contextvars()
    structlog.contextvars.bind_contextvars(task=task.name, **ids)
    current, hostname = runtime(), task.request.hostname or "flowshift"
    if _process is None or _process.runtime is not current:
        reporter = Reporter(current, app, hostname)
        _process = Process(current, CeleryQueue(app), reporter, hostname=hostname)
    return _process
