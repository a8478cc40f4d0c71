"""The command that lists runs: runs."""

from __future__ import annotations

import click

from worker.cli.options import count_option, json_option
from worker.cli.printing import console, print_json, say
from worker.cli.session import configure_logging, opened
from worker.cli.views.runs import runs_table
from worker.steps.report import newest_runs
from worker.steps.run_view import run_view


@click.command()
@count_option(20)
@json_option
def runs(*, limit: int, as_json: bool) -> int:
    """List runs, the newest first.

    \b
    Examples:
      flowshift runs
      flowshift runs --limit 100 --json
    """
    configure_logging()
    with opened(needs_redis=False) as current:
        entries = newest_runs(current.engine, limit)
    if as_json:
        print_json([run_view(run, progress) for run, progress in entries])
    elif entries:
        out = console()
        out.print(runs_table(entries, width=out.width))
    else:
        say("no runs yet: flowshift migrate --dry-run")
    return 0
