"""The command that deletes old records: prune."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

import click

from worker.cli.arguments import AGE
from worker.cli.options import json_option
from worker.cli.printing import console, print_json
from worker.cli.session import configure_logging, opened, person
from worker.cli.views.prune import print_result, result_fields, shown
from worker.errors import StaleError
from worker.steps.prune import prune as step
from worker.steps.prune.schedule import keep_of, prune_here


@click.command()
@click.option(
    "--older-than",
    "older_than_s",
    type=AGE,
    metavar="AGE",
    show_default="FLOWSHIFT_KEEP_EXECUTIONS_DAYS",
    help="Prune executions that are older than AGE, such as 30d or 12h (s, m, h, d, w).",
)
@click.option("--dry-run", is_flag=True, help="Only count what would be deleted.")
@json_option
def prune(*, older_than_s: int | None, dry_run: bool, as_json: bool) -> int:
    """Delete old execution records, and flowshift's own old records.

    Executions that were created before the cut-off are deleted with their node executions.
    flowshift's old runs, their outcomes and the audit trail have settings of their own. Rows are
    deleted in small transactions, the oldest first. Ctrl-C ends the prune; what is deleted stays
    deleted.

    The exit code is 0 if everything old is deleted. It is 1 if records stay: they are in use, another
    table refers to them, or another prune or a health check stopped this one.

    \b
    Examples:
      flowshift prune --dry-run          # what would be deleted
      flowshift prune --older-than 90d
    """
    configure_logging()
    with opened(needs_redis=False) as current:
        keep = keep_of(current.settings, executions_s=older_than_s)
        with shown(quiet=as_json) as show:
            try:
                with _terminable():
                    if dry_run:
                        result = step.look(current.engine, keep, show=show)
                    else:
                        result = prune_here(current, keep, actor=person(), show=show)
            except StaleError as error:
                raise click.ClickException(f"{error}; nothing was deleted here") from error
        if as_json:
            print_json(result_fields(result))
        else:
            print_result(console(), result)
    if result.interrupted:
        return 130
    return 1 if result.state != "done" or result.gone.get("kept") else 0


@contextmanager
def _terminable() -> Iterator[None]:
    """Let SIGTERM end a prune as Ctrl-C does, with its summary."""

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
