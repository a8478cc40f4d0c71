"""How everything is, and whether the processes work."""

from __future__ import annotations

from litestar import get

from worker.core.policy.processes import health_of, wanted_kinds
from worker.processes.vitals import max_age_s
from worker.steps.processes import read_processes
from worker.steps.processes_view import HealthView, health_view
from worker.steps.prune.calendar import read_schedule
from worker.steps.status import read_status
from worker.steps.status_view import StatusView, status_view
from worker.web.api.runs import FAILURES_SHOWN
from worker.web.given import Current, Reading

TAGS = ["status"]


@get("/status", tags=TAGS, sync_to_thread=True)
def status(reading: Reading, current: Current) -> StatusView:
    """Everything at one moment, as `flowshift status --json` says it, with the newest run."""
    found = read_status(reading, current.settings, None, most_failures=FAILURES_SHOWN)
    schedule = read_schedule(reading, current.settings.prune_at)
    return status_view(found, schedule, max_age_s(current))


@get("/health", tags=TAGS, sync_to_thread=True)
def health(reading: Reading, current: Current) -> HealthView:
    """Whether workers, the beat, Flower and this server do their work, as `flowshift health` says it."""
    found, limit_s = read_processes(reading), max_age_s(current)
    healthy = all(health_of(kind, found, limit_s).healthy for kind in wanted_kinds(found))
    return health_view(found, limit_s, healthy=healthy)
