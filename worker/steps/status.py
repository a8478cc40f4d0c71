"""How everything is: a run with its pace, the database's health, the fleet, the processes."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import sqlalchemy as sa

from worker.core.policy.health import Verdict
from worker.core.policy.processes import Process
from worker.core.targets.detect import Choice
from worker.db import admission, channels, fleet, heartbeats, outcomes, overview
from worker.db.channels import Stuck
from worker.db.engine import map_database_errors
from worker.db.fleet import Executed
from worker.db.overview import Overview
from worker.db.publication import outline
from worker.db.publication.outline import Outline
from worker.db.runs import Run
from worker.settings import Settings
from worker.steps.metrics import totals
from worker.steps.metrics.totals import PlanCounts
from worker.steps.report import RunReport, latest_run, report_run
from worker.steps.target import choose_target
from worker.steps.throttle import Throttle


class Pace(msgspec.Struct, frozen=True, kw_only=True):
    """How fast a run may go: its limits, and the size of its next batch. None is no limit."""

    batch_size: int
    batch_size_now: int
    batch_target_ms: int
    batch_window: int
    concurrency: int | None
    max_rate: float | None
    max_failures: float


class Status(msgspec.Struct, frozen=True, kw_only=True):
    """Everything at one moment.

    `report` is None if there is no run; `pace` is None, and `health` empty, if its run is over.
    `open_failures` counts the bots that are still broken, by code. `publications` are those that are not
    over. `notifications_stuck` are the channels that have not taken what they should have. `target` is the
    one that a run started now would be for. `plans` are of all processes since the beginning.
    """

    report: RunReport | None
    pace: Pace | None
    health: Sequence[Verdict]
    fleet: Overview
    executed: Executed
    open_failures: outcomes.Counts
    publications: Sequence[Outline]
    processes: Sequence[Process]
    notifications_stuck: Sequence[Stuck]
    target: Choice
    plans: PlanCounts


def read_status(
    engine: sa.Engine,
    settings: Settings,
    run_id: int | None,
    *,
    most_failures: int | None = None,
) -> Status:
    """The status of a run, or of the latest if `run_id` is None, and of the fleet.

    Raises:
        UsageError: there is no such run.
        TransientError: the database was unavailable.
    """
    chosen = latest_run(engine) if run_id is None else run_id
    report = None if chosen is None else report_run(engine, chosen, most_failures=most_failures)
    is_active = report is not None and not report.progress.is_over
    with map_database_errors(), engine.connect() as connection:
        return Status(
            report=report,
            pace=_pace(connection, report.run, settings) if report and is_active else None,
            health=health_now(engine, settings) if is_active else (),
            fleet=overview.overview(connection),
            executed=fleet.executed(connection),
            open_failures=outcomes.counts(connection),
            publications=outline.active(connection),
            processes=heartbeats.processes(connection),
            notifications_stuck=channels.stuck(connection),
            target=choose_target(connection, None, settings.target),
            plans=totals.plans(connection),
        )


def health_now(engine: sa.Engine, settings: Settings) -> list[Verdict]:
    """What every health check says now. How long commits take only workers know.

    Raises:
        TransientError: the database was unavailable.
    """
    return Throttle(engine, settings).check_all()


def _pace(connection: sa.Connection, run: Run, settings: Settings) -> Pace:
    options = run.options
    target_ms = settings.batch_target_ms
    return Pace(
        batch_size=options.batch_size,
        batch_size_now=admission.size_now(connection, run.run_id, options, target_ms),
        batch_target_ms=target_ms,
        batch_window=options.batch_window or settings.batch_window,
        concurrency=options.concurrency,
        max_rate=options.max_rate,
        max_failures=options.max_failures,
    )
