"""The command that shows the audit trail: audit."""

from __future__ import annotations

import click

from worker.cli.options import count_option, json_option, optional_run_argument
from worker.cli.printing import console, print_json, say
from worker.cli.session import configure_logging, opened
from worker.cli.views.audit import print_audit
from worker.steps.control import audit_trail


@click.command()
@optional_run_argument
@count_option(100)
@json_option
def audit(*, run_id: int | None, limit: int, as_json: bool) -> int:
    """Show who did what, when and why: to RUN, or to all runs; the newest last.

    \b
    Examples:
      flowshift audit
      flowshift audit 3 --json
    """
    configure_logging()
    with opened(needs_redis=False) as current:
        trail = audit_trail(current.engine, run_id, limit)
    if as_json:
        print_json(trail)
    elif trail:
        print_audit(console(), trail)
    else:
        say("the audit trail is empty")
    return 0
