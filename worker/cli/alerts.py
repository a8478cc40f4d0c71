"""The command that shows the alert rules: alerts."""

from __future__ import annotations

import click

from worker.cli.options import json_option
from worker.cli.printing import console, print_json
from worker.cli.session import configure_logging, opened
from worker.cli.views.alerts import print_alerts
from worker.steps.alerts.show import shown


@click.command()
@json_option
def alerts(*, as_json: bool) -> int:
    """Show the alert rules, the built-in ones first, and the state of each.

    The beat judges them where FLOWSHIFT_NOTIFY or FLOWSHIFT_ALERTS is set. The exit code is 1 if one is
    firing.

    \b
    Examples:
      flowshift alerts
      flowshift alerts --json
    """
    configure_logging()
    with opened(needs_redis=False) as current:
        found = shown(current)
    if as_json:
        print_json(found)
    else:
        print_alerts(console(), found)
    return 1 if any(one.alert is not None and one.alert.state == "firing" for one in found) else 0
