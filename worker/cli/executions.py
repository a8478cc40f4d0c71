"""The commands about recorded executions: list, show."""

from __future__ import annotations

import click

from worker.cli.arguments import RUN, TEXT
from worker.cli.options import count_option, full_option, json_option
from worker.cli.printing import console, print_json
from worker.cli.session import configure_logging, opened
from worker.cli.views.execution import print_whole, whole_fields
from worker.cli.views.executions import execution_fields, print_executions
from worker.db.executions import LOOKED_AT
from worker.errors import UsageError
from worker.steps import executions as step


class ListByDefault(click.Group):
    """A group that lists where no command of its own is named."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Put `list` in front of anything that is neither a command nor a request for help."""
        if not args or args[0] not in (*self.commands, *ctx.help_option_names):
            args = ["list", *args]
        return super().parse_args(ctx, args)


@click.group(cls=ListByDefault, subcommand_metavar="[BOT|RUN] | show ID")
def executions() -> None:
    """List recorded executions, or show one node by node.

    \b
    Examples:
      flowshift executions                 # the newest of all
      flowshift executions bot_000005      # those of a bot
      flowshift executions 3               # those that run 3 made
      flowshift executions show 1f2e3d4c   # one of them, node by node
      flowshift executions list --help     # the options of the list
    """


@executions.command("list", short_help="List executions, the newest first.")
@click.argument("which", metavar="[BOT|RUN]", type=TEXT, required=False)
@click.option(
    "--bot",
    "bot_id",
    type=TEXT,
    metavar="BOT",
    show_default="all",
    help="Of this bot, even if its id is a number.",
)
@click.option(
    "--run", "run_id", metavar="RUN", type=RUN, show_default="all", help="Made by this run."
)
@click.option("--failed", is_flag=True, help="Only those that failed.")
@count_option(20, 10_000)
@json_option
def list_executions(
    *,
    which: str | None,
    bot_id: str | None,
    run_id: int | None,
    failed: bool,
    limit: int,
    as_json: bool,
) -> int:
    """List executions, the newest first: of real traffic and of runs.

    A number is a run, anything else is a bot; --bot and --run are explicit.

    \b
    Examples:
      flowshift executions bot_000005 --failed
      flowshift executions list --run 3 --limit 100 --json
    """
    configure_logging()
    bot_id, run_id = _chosen(which, bot_id, run_id)
    with opened(needs_redis=False) as current:
        found = step.list_executions(
            current.engine, limit, bot_id=bot_id, run_id=run_id, failed=failed
        )
    if as_json:
        print_json([execution_fields(one) for one in found])
        return 0
    out = console()
    if found:
        print_executions(out, found, with_bot=bot_id is None)
    else:
        among = f" among the newest {LOOKED_AT:,}" if failed else ""
        out.print(f"no {'failed ' if failed else ''}executions{among}")
    return 0


def _chosen(
    which: str | None, bot_id: str | None, run_id: int | None
) -> tuple[str | None, int | None]:
    """The bot or the run that is meant."""
    if sum(given is not None for given in (which, bot_id, run_id)) > 1:
        raise UsageError("name one bot or one run, once")
    if which is None:
        return bot_id, run_id
    if which.isascii() and which.isdigit() and len(which) < 19:  # what a run's number can be
        return None, int(which)
    return which, None


@executions.command("show", short_help="Show one execution node by node.")
@click.argument("execution_id", metavar="ID", type=TEXT)
@full_option
@json_option
def show_execution(*, execution_id: str, full: bool, as_json: bool) -> int:
    """Show one execution node by node, in the order in which they ran.

    The beginning of an id is enough if no other execution's id begins with it.

    \b
    Examples:
      flowshift executions show 1f2e3d4c
      flowshift executions show 1f2e3d4c --full
    """
    configure_logging()
    with opened(needs_redis=False) as current:
        found = step.read_execution(current.engine, execution_id)
    if as_json:
        print_json(whole_fields(found.whole, found.nodes))
    else:
        print_whole(console(), found.whole, found.nodes, full=full)
    return 0
