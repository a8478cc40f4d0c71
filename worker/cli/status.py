"""The command that says how everything is: status."""

from __future__ import annotations

import click

from worker.cli.options import json_option, optional_run_argument
from worker.cli.printing import console, print_json
from worker.cli.session import configure_logging, opened
from worker.cli.starting import FAILURES_SHOWN
from worker.cli.views.status import print_status
from worker.processes.vitals import max_age_s
from worker.steps.prune.calendar import read_schedule
from worker.steps.status import read_status
from worker.steps.status_view import status_view


@click.command()
@optional_run_argument
@json_option
def status(*, run_id: int | None, as_json: bool) -> int:
    """Show the state of RUN, or of the latest run, and of the fleet.

    The exit code is 1 if bots of the run failed, otherwise 0.

    \b
    Examples:
      flowshift status
      flowshift status 3 --json
    """
    configure_logging()
    with opened(needs_redis=False) as current:
        found = read_status(
            current.engine,
            current.settings,
            run_id,
            most_failures=None if as_json else FAILURES_SHOWN,
        )
        schedule = read_schedule(current.engine, current.settings.prune_at)
        limit_s = max_age_s(current)
    if as_json:
        print_json(status_view(found, schedule, limit_s))
        return 1 if found.report is not None and found.report.has_failures else 0
    print_status(console(), found, schedule, limit_s)
    return 0 if found.report is None or found.report.is_good else 1
