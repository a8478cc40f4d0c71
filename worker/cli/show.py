"""The command about one bot: show."""

from __future__ import annotations

import click

from worker.cli.options import (
    bot_argument,
    draft_target_option,
    json_option,
    strict_option,
)
from worker.cli.printing import console, print_json
from worker.cli.session import configure_logging, opened
from worker.cli.views.bot import bot_fields, print_bot
from worker.core.codes import WarningCode, parse_differences
from worker.steps.examine import examine_bot


@click.command()
@bot_argument
@draft_target_option
@strict_option
@json_option
def show(
    *, bot_id: str, target: str | None, strict: tuple[WarningCode, ...] | None, as_json: bool
) -> int:
    """Show one bot: what runs did for it, its draft, and whether that does what V1 does.

    The draft is checked against the checklist and executed beside V1, now, on the built-in
    messages. No model is asked and nothing is searched. The bot's last executions are listed, with
    the nodes of the newest.

    The draft is executed by the engine of the target that it was written for, unless you name another.

    The exit code is 1 if the latest run of this bot failed it, its draft differs from V1, or the draft
    is for another target than the platform's.

    \b
    Examples:
      flowshift show bot_000005
      flowshift show bot_000005 --json
    """
    configure_logging()
    with opened(needs_redis=False) as current:
        fails = parse_differences(current.settings.strict) if strict is None else strict
        found = examine_bot(
            current.engine,
            bot_id,
            current.defaults,
            lambda one: current.echo_for(one, fails),
            asked=target,
            setting=current.settings.target,
        )
    if as_json:
        print_json(bot_fields(found))
    else:
        print_bot(console(), found)
    return 0 if found.is_good else 1
