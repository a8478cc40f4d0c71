"""The command that executes one draft in the foreground: test."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import click
import msgspec

from worker.cli.arguments import TEXT
from worker.cli.lookup import existing_bot
from worker.cli.printing import Console, Table, Text, console, print_json
from worker.cli.provider import budget_of, provider_options
from worker.cli.session import configure_logging, opened, reading
from worker.cli.terminal import plain
from worker.cli.views.nodes import executed, print_nodes, trace_time, value_text
from worker.core.parity.compare import Parity
from worker.core.parity.messages import BUILT_IN
from worker.core.parity.recording import SESSION_OF_TEST
from worker.core.parity.side_by_side import Compared, prepare, refused, run_both
from worker.core.parity.trial import Equipment
from worker.core.policy.budget import Limits
from worker.core.targets.convert import convert_text
from worker.core.workflow import v1
from worker.core.workflow.config import Defaults
from worker.db.inspect import BotView
from worker.db.runs import ECHO, Provider
from worker.errors import BotError, UsageError
from worker.providers.budget import LocalBudget
from worker.providers.live import Live, check
from worker.runtime import Runtime


class Tried(msgspec.Struct, frozen=True):
    """A bot's trial, and whether its draft was `stored` or was `converted` for it."""

    bot_id: str
    draft: str
    compared: Compared

    @property
    def is_good(self) -> bool:
        """Whether V2 answered, and V1 no differently."""
        return self.compared.v2.error is None and self.compared.parity.same is not False


@click.command("test")
@click.argument("bot_id", metavar="BOT", type=TEXT)
@click.option(
    "--message",
    type=TEXT,
    default=BUILT_IN[0],
    show_default=True,
    help="What the user says to the bot.",
)
@provider_options
@click.option("--full", is_flag=True, help="Print every value whole.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, for scripts.")
def test(
    *,
    bot_id: str,
    message: str,
    provider: Provider,
    max_requests: int | None,
    max_tokens: int | None,
    max_money: str | None,
    full: bool,
    as_json: bool,
) -> int:
    """Execute one bot's draft now, node by node, and V1 beside it. Nothing is written.

    No model and no search is asked, unless you say `--provider live`: both are answered by an
    echo. A bot without a draft is converted for this once.

    The exit code is 0 if the draft made V1's calls and gave its answer, 1 if it failed or differs,
    2 if there is no such bot, or neither a draft nor a workflow.
    """
    configure_logging()
    budget = budget_of(max_requests, max_tokens, max_money)
    with opened(needs_redis=False) as current, _equipment(current, provider, budget) as equipment:
        with reading(current) as connection:
            view = existing_bot(connection, bot_id)
        tried = try_bot(view, message, current.defaults, equipment)
    if as_json:
        print_json(_as_json(tried))
    else:
        _print(console(), tried, full=full)
    return 0 if tried.is_good else 1


@contextmanager
def _equipment(current: Runtime, provider: Provider, budget: Limits | None) -> Iterator[Equipment]:
    if (provider == ECHO) != (budget is None):
        raise UsageError("real models are asked within a budget, and only they need one")
    if budget is None:
        yield current.echo
        return
    with Live(check(current.live), LocalBudget(budget), current.registry) as live:
        yield live.equipment


def try_bot(view: BotView, message: str, defaults: Defaults, equipment: Equipment) -> Tried:
    """Run a bot's draft, or its conversion where it has none, and V1 on `message`.

    Raises:
        UsageError: it has neither a draft nor a workflow.
    """
    column = None if view.workflow is None else view.workflow.encode()
    if view.has_draft and view.graph is not None:
        draft, graph = "stored", view.graph.encode()
    elif column is None or v1.is_json_null(column):
        raise UsageError(f"bot {plain(view.bot_id)} has neither a draft nor a workflow")
    else:
        draft = "converted"
        try:
            graph = convert_text(column, defaults).graph
        except BotError as error:
            return Tried(view.bot_id, draft, _unconverted(message, error))
    pair = prepare(column, graph, defaults, equipment.registry)
    compared = run_both(pair, message, equipment, view.variables, SESSION_OF_TEST)
    return Tried(view.bot_id, draft, compared)


def _unconverted(message: str, error: BotError) -> Compared:
    """What cannot be converted is what V1 refuses: neither side ran."""
    parity = Parity(None, f"it cannot be converted: {error}")
    return Compared(message, refused(error), refused(error), parity)


def _as_json(tried: Tried) -> dict[str, Any]:
    compared = tried.compared
    return {
        "bot_id": tried.bot_id,
        "draft": tried.draft,
        "message": compared.message,
        "v1": {
            name: getattr(compared.v1, name)
            for name in ("answer", "calls", "error", "tokens", "elapsed_us")
        },
        "v2": compared.v2,
        "parity": compared.parity.same,
        "difference": compared.parity.difference,
    }


def _print(out: Console, tried: Tried, *, full: bool) -> None:
    compared = tried.compared
    which = "its draft" if tried.draft == "stored" else "no draft is stored: converted just now"
    out.print(Text(plain(tried.bot_id), "bold").append(f"  {which}", "not bold"))
    out.print(Text("message  ").append_text(value_text(compared.message, full=full)))
    out.print()
    if compared.v2.nodes:
        print_nodes(out, [executed(node) for node in compared.v2.nodes], full=full)
        out.print()
    out.print(_sides(compared, full=full))


def _sides(compared: Compared, *, full: bool) -> Table:
    table = Table.grid(padding=(0, 2))
    table.add_column(no_wrap=True)
    table.add_column(justify="right", no_wrap=True)
    table.add_column(overflow="fold")
    for name, trace in (("V1", compared.v1), ("V2", compared.v2)):
        said = value_text(trace.answer if trace.error is None else trace.error, full=full)
        said.stylize("red" if trace.error else "")
        table.add_row(name, Text(trace_time(trace)), said)
    same = compared.parity.same
    colour = {True: "green", False: "red", None: "yellow"}[same]
    verdict = {True: "yes", False: "no", None: "–"}[same]
    why = plain(compared.parity.difference or "the same calls and the same answer", 400)
    table.add_row("parity", Text(verdict, colour), Text(why, colour))
    return table
