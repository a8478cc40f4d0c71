"""The Celery tasks: an id in, one step, enqueue the next.

By name, with JSON arguments: `flowshift.migrate`, `flowshift.plan_run`, `flowshift.convert_batch`,
`flowshift.validate_batch`, `flowshift.refresh_progress`. From Python: `tasks.start_run(Request(...))`.
"""

from tasks.queue import start_run
from tasks.runs import convert_batch, migrate, plan_run, refresh_progress, validate_batch

__all__ = [
    "convert_batch",
    "migrate",
    "plan_run",
    "refresh_progress",
    "start_run",
    "validate_batch",
]
