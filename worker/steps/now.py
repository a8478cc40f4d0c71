"""What goes on now, in two parts: what is cheap to read each time, and the fleet in numbers."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence

import msgspec
import sqlalchemy as sa

from worker.core.policy.health import Verdict
from worker.core.policy.processes import Process
from worker.core.policy.progress import Progress
from worker.core.targets.detect import Choice
from worker.db import alerts, channels, fleet, heartbeats, outcomes, overview
from worker.db.alerts import Alert
from worker.db.channels import Stuck
from worker.db.engine import map_database_errors
from worker.db.fleet import Executed
from worker.db.outcomes import Counts
from worker.db.overview import Overview
from worker.db.publication import outline
from worker.db.publication.outline import Outline
from worker.db.runs import Run
from worker.settings import Settings
from worker.steps.prune.calendar import PruneSchedule, read_schedule
from worker.steps.report import newest_runs
from worker.steps.status import health_now
from worker.steps.target import choose_target

RUNS_READ = 30
"""Of so many runs, the newest, those that go on and those that ended are shown."""

PUBLICATIONS_READ = 5


class Now(msgspec.Struct, frozen=True, kw_only=True):
    """Runs with their progress, the newest first; publications that are not over; processes; the prune.

    `publications_ended` are those of the newest few that are over. `health` is empty if no run goes on.
    `alerts` are those that fire; `notifications_stuck` are the channels that have not taken what they
    should have.
    """

    active: Sequence[tuple[Run, Progress]]
    ended: Sequence[tuple[Run, Progress]]
    publications: Sequence[Outline]
    publications_ended: Sequence[Outline]
    processes: Sequence[Process]
    health: Sequence[Verdict]
    schedule: PruneSchedule
    alerts: Sequence[Alert]
    notifications_stuck: Sequence[Stuck]


def read_now(engine: sa.Engine, settings: Settings) -> Now:
    """What goes on, by some queries of a few milliseconds each, however big the fleet is.

    Raises:
        TransientError: the database was unavailable.
    """
    found = newest_runs(engine, RUNS_READ)
    active = [one for one in found if not one[1].is_over]
    with map_database_errors(), engine.connect() as connection:
        publications = outline.active(connection)
        newest = outline.newest(connection, PUBLICATIONS_READ)
        processes = heartbeats.processes(connection)
        firing = [one for one in alerts.states(connection).values() if one.state == "firing"]
        stuck = channels.stuck(connection)
    return Now(
        active=active,
        ended=[one for one in found if one[1].is_over],
        publications=publications,
        publications_ended=[one for one in newest if one.is_over],
        processes=processes,
        health=health_now(engine, settings) if active else (),
        schedule=read_schedule(engine, settings.prune_at),
        alerts=firing,
        notifications_stuck=stuck,
    )


class Fleet(msgspec.Struct, frozen=True, kw_only=True):
    """The fleet at one moment; `target` is the one that a run started now would be for."""

    counted_at: dt.datetime
    overview: Overview
    executed: Executed
    open_failures: Counts
    target: Choice


def read_fleet(engine: sa.Engine, settings: Settings) -> Fleet:
    """Count the fleet: half a second at a million bots, some where they are on disk; not within a page.

    Raises:
        TransientError: the database was unavailable.
    """
    with map_database_errors(), engine.connect() as connection:
        return Fleet(
            counted_at=connection.execute(sa.select(sa.func.now())).scalar_one(),
            overview=overview.overview(connection),
            executed=fleet.executed(connection),
            open_failures=outcomes.counts(connection),
            target=choose_target(connection, None, settings.target),
        )
