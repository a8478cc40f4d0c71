"""The commands about recorded executions: list, show."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import Any

import click
import msgspec
import sqlalchemy as sa

from worker.cli.arguments import RUN, TEXT
from worker.cli.lookup import existing_bot
from worker.cli.printing import Console, Table, Text, console, print_json
from worker.cli.session import configure_logging, opened, reading
from worker.cli.terminal import fields, plain
from worker.cli.views.nodes import print_nodes, recorded, status_text, time_text, value_text
from worker.db import executions as recorded_executions
from worker.db import inspect, runs
from worker.db.executions import LOOKED_AT, Execution, NodeExecution, Whole
from worker.errors import UsageError

WIDE = 110
SHORT_ID = 8
ERROR_CUT = 200


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
    flowshift executions               the newest of all
    flowshift executions bot_000005    those of a bot
    flowshift executions 3             those that run 3 made
    flowshift executions show 1f2e3d4c one of them
    flowshift executions list --help   what the list can be told
    """


@executions.command("list")
@click.argument("which", metavar="[BOT|RUN]", type=TEXT, required=False)
@click.option(
    "--bot", "bot_id", type=TEXT, metavar="BOT", help="Of this bot, whatever its id looks like."
)
@click.option("--run", "run_id", metavar="RUN", type=RUN, help="Made by this run.")
@click.option("--failed", is_flag=True, help="Only those that failed.")
@click.option(
    "--limit",
    type=click.IntRange(1, 10_000),
    default=20,
    show_default=True,
    help="How many at most.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON, for scripts.")
def list_executions(
    *,
    which: str | None,
    bot_id: str | None,
    run_id: int | None,
    failed: bool,
    limit: int,
    as_json: bool,
) -> int:
    """List executions, the newest first: those of real traffic, and those that runs made.

    A number is a run, anything else a bot; --bot and --run say it where that is not what is meant.
    """
    configure_logging()
    bot_id, run_id = _chosen(which, bot_id, run_id)
    with opened(needs_redis=False) as current, reading(current) as connection:
        if bot_id is not None:
            existing_bot(connection, bot_id)
            found = recorded_executions.of_bot(connection, bot_id, limit, failed=failed)
        elif run_id is not None:
            found = recorded_executions.of_run(connection, run_id, limit, failed=failed)
            if not found:
                _refuse_unknown_run(connection, run_id)
        else:
            found = recorded_executions.newest(connection, limit, failed=failed)
    if as_json:
        print_json([as_fields(one) for one in found])
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


def _refuse_unknown_run(connection: sa.Connection, run_id: int) -> None:
    if runs.get(connection, run_id) is not None:
        return
    meant = inspect.bot(connection, str(run_id)) is not None
    hint = f"; for the bot of that id: flowshift executions --bot {run_id}" if meant else ""
    raise UsageError(f"there is no run {run_id}{hint}")


def as_fields(one: Execution) -> dict[str, Any]:
    """An execution as JSON has it; `run_id` and `message` where a run made it, else null."""
    run_id, message = one.validates or (None, None)
    return {**msgspec.structs.asdict(one), "run_id": run_id, "message": message}


def print_executions(out: Console, found: Sequence[Execution], *, with_bot: bool) -> None:
    """Print executions in the order given, then why some failed, as wide as the terminal allows.

    Ids are cut where there is no room, but never so far that two of them look alike.
    """
    wide = out.width >= WIDE
    length = 36 if wide else _distinct_length([one.execution_id for one in found])
    table = Table(box=None, pad_edge=False)
    for name in ("id", "at (UTC)", "status"):
        table.add_column(name, no_wrap=True)
    table.add_column("time", justify="right", no_wrap=True)
    if wide or not with_bot:
        table.add_column("tokens", justify="right", no_wrap=True)
    if with_bot:
        table.add_column("bot", overflow="fold")
    table.add_column("run or session", overflow="fold")
    for one in found:
        row = [
            Text(str(one.execution_id)[:length]),
            Text(f"{one.created_at:{'%Y-%m-%d %H:%M:%S' if wide else '%m-%d %H:%M:%S'}}"),
            status_text(one.status, 9),
            Text(time_text(None if one.elapsed_ms is None else one.elapsed_ms * 1000)),
        ]
        if wide or not with_bot:
            row.append(Text("–" if one.tokens is None else f"{one.tokens:,}"))
        if with_bot:
            row.append(Text(plain(one.bot_id)))
        table.add_row(*row, _session_text(one))
    out.print(table)
    why = Table(title="why", title_justify="left", box=None, pad_edge=False, show_header=False)
    why.add_column(no_wrap=True)
    why.add_column(overflow="fold")
    for one in found:
        if one.error:
            shown = Text(plain(one.error, ERROR_CUT), "red")
            why.add_row(Text(str(one.execution_id)[:length]), shown)
    if why.row_count:
        out.print(why)


def _distinct_length(ids: Sequence[uuid.UUID]) -> int:
    """How many characters of each id tell it from the others."""
    texts = {str(one) for one in ids}
    return next(
        length
        for length in range(SHORT_ID, 37)
        if len({text[:length] for text in texts}) == len(texts)
    )


def _session_text(one: Execution) -> Text:
    if one.validates:
        return Text("run {} message {}".format(*one.validates), "cyan")
    return Text(plain(one.session_id, 40) if one.session_id else "–")


# -- one -------------------------------------------------------------------------------------------


@executions.command("show")
@click.argument("execution_id", metavar="ID", type=TEXT)
@click.option("--full", is_flag=True, help="Print every value whole.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, for scripts.")
def show_execution(*, execution_id: str, full: bool, as_json: bool) -> int:
    """Show one execution node by node, in the order in which they ran.

    The beginning of an id is enough where no other execution's begins so.
    """
    configure_logging()
    with opened(needs_redis=False) as current, reading(current) as connection:
        whole = _found(connection, execution_id)
        nodes = recorded_executions.nodes(connection, whole.execution.execution_id)
    if as_json:
        print_json(_whole_as_json(whole, nodes))
    else:
        _print_whole(console(), whole, nodes, full=full)
    return 0


def _found(connection: sa.Connection, prefix: str) -> Whole:
    ids = recorded_executions.ids_like(connection, prefix)
    if len(ids) > 1:
        shown = ", ".join(str(one) for one in ids[:5])
        more = " …" if len(ids) > 5 else ""
        raise UsageError(f"several executions begin with {plain(prefix)}: {shown}{more}")
    whole = recorded_executions.whole(connection, ids[0]) if ids else None
    if whole is None:
        raise UsageError(f"there is no execution {plain(prefix)}")
    return whole


def _whole_as_json(whole: Whole, nodes: Sequence[NodeExecution]) -> dict[str, Any]:
    values = msgspec.structs.asdict(whole)
    values = {**as_fields(values.pop("execution")), **values}
    return {
        **_with_json(values, "inputs", "outputs"),
        "nodes": [
            _with_json(msgspec.structs.asdict(node), "inputs", "outputs", "truncated")
            for node in nodes
        ],
    }


def _with_json(values: dict[str, Any], *names: str) -> dict[str, Any]:
    """`values` with JSON text as the JSON that it is, digit by digit."""
    texts = {name: values[name] for name in names if values[name] is not None}
    return {**values, **{name: msgspec.Raw(text.encode()) for name, text in texts.items()}}


def _print_whole(out: Console, whole: Whole, nodes: Sequence[NodeExecution], *, full: bool) -> None:
    one = whole.execution
    title = Text(f"execution {one.execution_id}  ", "bold")
    out.print(title.append_text(status_text(one.status)))
    facts = Table.grid(padding=(0, 2))
    facts.add_column(no_wrap=True, style="dim")
    facts.add_column(overflow="fold")
    for name, value in _facts(whole, full=full):
        facts.add_row(name, value)
    out.print(facts)
    out.print()
    if nodes:
        print_nodes(out, [recorded(node) for node in nodes], full=full)
    else:
        out.print("no nodes were recorded")


def _facts(whole: Whole, *, full: bool) -> list[tuple[str, Text]]:
    one = whole.execution
    version = whole.version or (str(whole.version_id) if whole.version_id else "–")
    elapsed = time_text(None if one.elapsed_ms is None else one.elapsed_ms * 1000)
    tokens, steps = ("–" if n is None else f"{n:,}" for n in (one.tokens, one.steps))
    facts = [
        ("bot", Text(plain(one.bot_id))),
        ("version", Text(plain(version))),
        ("session", _session_text(one)),
        ("at (UTC)", Text(f"{whole.started_at or one.created_at:%Y-%m-%d %H:%M:%S.%f}"[:-3])),
        ("took", Text(f"{elapsed}, {steps} steps, {tokens} tokens")),
    ]
    for sign, values in (("←", whole.inputs), ("→", whole.outputs)):
        for name, value in fields(values).items():
            facts.append((f"{sign} {plain(name, 24)}", value_text(value, full=full)))
    if one.error:
        facts.append(("error", value_text(one.error, full=full)))
    return facts
