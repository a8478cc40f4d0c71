"""The arguments and options that several commands share, each declared once.

Every option that takes a value shows its default, or what holds without it: a test checks that.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, Final, TypeVar

import click
import msgspec

from worker.cli.arguments import RUN, TEXT, Number, Whole
from worker.cli.files import TextFile
from worker.core.codes import WarningCode, parse_differences
from worker.core.policy.limits import CONCURRENCIES, RATES, SHARES
from worker.core.targets.detect import CHOICES

Command = TypeVar("Command", bound=Callable[..., Any])


def together(*decorators: Callable[[Any], Any]) -> Callable[[Command], Command]:
    """Several options as one decorator, in the order in which `--help` lists them."""

    def decorate(command: Command) -> Command:
        for decorator in reversed(decorators):
            command = decorator(command)
        return command

    return decorate


def packed(
    name: str, kind: type[msgspec.Struct], *decorators: Callable[[Any], Any]
) -> Callable[[Command], Command]:
    """Options whose values reach the command as one `kind`, under the parameter `name`."""

    def decorate(command: Command) -> Command:
        @functools.wraps(command)
        def call(**given: Any) -> Any:
            values = {field: given.pop(field) for field in kind.__struct_fields__}
            return command(**given, **{name: kind(**values)})

        return together(*decorators)(call)  # type: ignore[return-value]

    return decorate


def code_option(codes: Sequence[str], *, help_text: str) -> Callable[[Command], Command]:
    """`--code`, one of `codes`; a wrong one is answered with the list."""
    return click.option(
        "--code",
        type=click.Choice(codes),
        metavar="CODE",
        show_default="every code",
        help=f"{help_text} docs/reference/codes.md lists the codes.",
    )


def count_option(default: int, most: int | None = None) -> Callable[[Command], Command]:
    """`--limit`: how many lines a list has at most."""
    return click.option(
        "--limit",
        type=Whole(1, most),
        metavar="N",
        default=default,
        help="List at most N.",
    )


run_argument: Final = click.argument("run_id", metavar="RUN", type=RUN)
optional_run_argument: Final = click.argument("run_id", metavar="[RUN]", type=RUN, required=False)
bot_argument: Final = click.argument("bot_id", metavar="BOT", type=TEXT)

json_option: Final = click.option(
    "--json", "as_json", is_flag=True, help="Print JSON, for scripts."
)
csv_option: Final = click.option("--csv", "as_csv", is_flag=True, help="Print CSV, a bot a line.")
full_option: Final = click.option("--full", is_flag=True, help="Print every value whole.")
fleet_option: Final = click.option(
    "--fleet", is_flag=True, help="Of the fleet, over all runs: as without RUN."
)
yes_option: Final = click.option("--yes", "-y", is_flag=True, help="Do not ask.")
reason_option: Final = click.option(
    "--reason", type=TEXT, metavar="TEXT", show_default="none", help="Why, for the audit trail."
)

bot_ids_option: Final = click.option(
    "--bot-id",
    "bot_ids",
    type=TEXT,
    multiple=True,
    metavar="BOT",
    show_default="all",
    help="Only this bot. Repeatable.",
)
bots_from_option: Final = click.option(
    "--bots-from",
    type=TextFile(),
    metavar="FILE",
    show_default="all",
    help="Only the bots in this file, one id a line (- is standard input).",
)
messages_option: Final = click.option(
    "--message",
    "messages",
    type=TEXT,
    multiple=True,
    metavar="TEXT",
    show_default="built-in messages",
    help="Execute drafts on this message. Repeatable.",
)
messages_from_option: Final = click.option(
    "--messages-from",
    type=TextFile(),
    metavar="FILE",
    show_default="built-in messages",
    help="Execute drafts on the messages in this file, one a line (- is standard input).",
)


class _Kinds(click.ParamType):  # type: ignore[type-arg]
    """Kinds of known differences: `all`, or codes with commas between."""

    name = "kinds"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[WarningCode, ...]:
        if isinstance(value, tuple):
            return value
        try:
            return parse_differences(value)
        except ValueError as error:
            self.fail(f"{error}. For all of them write --strict=all", param, ctx)


target_option: Final = click.option(
    "--target",
    type=click.Choice(CHOICES),
    show_default="FLOWSHIFT_TARGET",
    help="The V2 engine that drafts are for; `auto` looks at the database.",
)
draft_target_option: Final = click.option(
    "--target",
    type=click.Choice(CHOICES),
    show_default="that of the draft",
    help="The V2 engine to execute the draft with; `auto` looks at the database.",
)
serverless_target_option: Final = click.option(
    "--target",
    type=click.Choice(CHOICES),
    show_default="FLOWSHIFT_TARGET",
    help="The V2 engine that drafts are for. Without a database `auto` is `guide`; a graph says its own.",
)
strict_option: Final = click.option(
    "--strict",
    type=_Kinds(),
    metavar="KINDS",
    show_default="FLOWSHIFT_STRICT",
    help="Fail bots with these known differences, `all` or codes with commas between.",
)


class RunLimits(msgspec.Struct, frozen=True, kw_only=True):
    """How fast a run may go, and when it stops itself; None is the default."""

    max_rate: float | None
    concurrency: int | None
    max_failures: float | None
    allow_overlap: bool


limit_options: Final = packed(
    "limits",
    RunLimits,
    click.option(
        "--max-rate",
        type=Number(*RATES),
        metavar="N",
        show_default="no limit",
        help="At most N bots a second, over all workers.",
    ),
    click.option(
        "--concurrency",
        type=Whole(*CONCURRENCIES),
        metavar="N",
        show_default="no limit",
        help="At most N batches at once, over all workers.",
    ),
    click.option(
        "--max-failures",
        type=Number(*SHARES),
        metavar="SHARE",
        show_default="FLOWSHIFT_MAX_FAILURES",
        help="Pause the run when a larger share of its bots fails with one code.",
    ),
    click.option(
        "--allow-overlap",
        is_flag=True,
        help="Start even if an active run takes some of the same bots.",
    ),
)


class Starting(msgspec.Struct, frozen=True, kw_only=True):
    """How a command starts a run, and what it prints of it."""

    request_id: str | None
    detach: bool
    verbose: bool
    as_json: bool


starting_options: Final = packed(
    "starting",
    Starting,
    click.option(
        "--request-id",
        type=TEXT,
        metavar="TEXT",
        show_default="a new one",
        help="Name this request: the same name again follows the run that it started.",
    ),
    click.option("--detach", is_flag=True, help="Start the run and return; `watch` follows it."),
    click.option("--verbose", "-v", is_flag=True, help="Print every bot with its outcome."),
    json_option,
)
