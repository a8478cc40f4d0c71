"""The command that follows a run: watch."""

from __future__ import annotations

import click

from worker.cli import workers
from worker.cli.follow import follow
from worker.cli.options import optional_run_argument
from worker.cli.session import configure_logging, opened
from worker.cli.starting import print_report, said_when_interrupted
from worker.errors import UsageError
from worker.steps.report import latest_run, progress_of


@click.command()
@optional_run_argument
def watch(*, run_id: int | None) -> int:
    """Follow RUN, or the latest run, until it is over. It does not matter who started it.

    Ctrl-C ends the watching, not the run.

    The exit code is 1 if bots failed or the run did not complete.

    \b
    Examples:
      flowshift watch
      flowshift watch 3
    """
    configure_logging()
    with opened(needs_redis=False) as current:
        chosen = latest_run(current.engine) if run_id is None else run_id
        if chosen is None:
            raise UsageError("there are no runs yet")
        if not progress_of(current.engine, chosen).is_over:
            workers.hint(current, chosen)
        with said_when_interrupted(chosen, has_own_worker=lambda: False):
            follow(current, chosen)
        return print_report(current, chosen)
