"""How everything is, as JSON has it: one model for `status` and HTTP."""

from __future__ import annotations

import datetime as dt

from worker.core.policy.health import Verdict
from worker.core.targets.detect import Choice
from worker.db.channels import Stuck
from worker.db.fleet import Executions, ExecutionsOfStatus
from worker.db.overview import Overview
from worker.db.publication.outline import Outline
from worker.steps.metrics.totals import PlanCounts
from worker.steps.processes_view import ProcessesView, process_views
from worker.steps.prune.calendar import PruneSchedule
from worker.steps.run_view import RunSummary, run_summary
from worker.steps.status import Pace, Status


class StatusView(ProcessesView, frozen=True, kw_only=True):
    """Everything at one moment: the run, the fleet, publications, processes, prunes, executions.

    `pace` is null, and `health` empty, where the run is over. Executions are those of the last 24 hours,
    or the newest since `executions_since`. `plans` count drafts and plans since the beginning.
    """

    run: RunSummary | None
    pace: Pace | None
    health: tuple[Verdict, ...]
    target: Choice
    fleet: Overview
    publications: tuple[Outline, ...]
    open_failures: dict[str, int]
    open_failures_are_estimates: bool
    plans: PlanCounts
    prune: PruneSchedule
    notifications_stuck: tuple[Stuck, ...]
    executions_since: dt.datetime | None
    executions_24h: tuple[ExecutionsOfStatus, ...]
    executions_24h_all: Executions
    executions_24h_traffic: Executions
    executions_24h_validation: Executions


def status_view(status: Status, schedule: PruneSchedule, limit_s: float) -> StatusView:
    """The view of a status; `limit_s` is how old a heartbeat may be."""
    executed = status.executed
    return StatusView(
        run=None if status.report is None else run_summary(status.report),
        pace=status.pace,
        health=tuple(status.health),
        target=status.target,
        fleet=status.fleet,
        publications=tuple(status.publications),
        open_failures=status.open_failures.by_code,
        open_failures_are_estimates=status.open_failures.is_estimate,
        max_age_s=limit_s,
        processes=process_views(status.processes, limit_s),
        plans=status.plans,
        prune=schedule,
        notifications_stuck=tuple(status.notifications_stuck),
        executions_since=executed.since,
        executions_24h=executed.by_status,
        executions_24h_all=executed.all,
        executions_24h_traffic=executed.traffic,
        executions_24h_validation=executed.validation,
    )
