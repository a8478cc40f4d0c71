"""The command about one bot: show."""

from __future__ import annotations

import click

from worker.cli.options import bot_argument, json_option
from worker.cli.printing import console, print_json
from worker.cli.session import configure_logging, opened
from worker.cli.views.bot import bot_fields, print_bot
from worker.steps.examine import examine_bot


@click.command()
@bot_argument
@json_option
def show(*, bot_id: str, as_json: bool) -> int:
    """Show one bot: what runs did for it, its draft, and whether that does what V1 does.

    The draft is checked against the checklist and executed beside V1, now, on the built-in
    messages. No model is asked and nothing is searched. The bot's last executions are listed, with
    the nodes of the newest.

    The exit code is 1 if the latest run of this bot failed it, or its draft differs from V1.

    \b
    Examples:
      flowshift show bot_000005
      flowshift show bot_000005 --json
    """
    configure_logging()
    with opened(needs_redis=False) as current:
        found = examine_bot(current.engine, bot_id, current.defaults, current.echo)
    if as_json:
        print_json(bot_fields(found))
    else:
        print_bot(console(), found)
    return 0 if found.is_good else 1
