"""The Celery tasks: an id in, one step, enqueue the next.

By name, with JSON arguments: `flowshift.start_run`, `flowshift.plan_run`, `flowshift.convert_batch`,
`flowshift.validate_batch`, `flowshift.refresh_progress`, `flowshift.sweep`, `flowshift.tick_publications`,
`flowshift.send_notifications`, `flowshift.prune`. From Python:
`tasks.start_run(Request(...))`.
"""

from tasks.notifications import send_notifications
from tasks.prunes import prune, tick_prune
from tasks.publications import tick_publications
from tasks.runs import convert_batch, migrate, plan_run, refresh_progress, sweep, validate_batch
from tasks.start import start_run

__all__ = [
    "convert_batch",
    "migrate",
    "plan_run",
    "prune",
    "refresh_progress",
    "send_notifications",
    "start_run",
    "sweep",
    "tick_prune",
    "tick_publications",
    "validate_batch",
]
