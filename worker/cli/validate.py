"""The command that executes the drafts that are there: validate."""

from __future__ import annotations

from typing import TextIO

import click

from worker.cli.arguments import RUN, TEXT
from worker.cli.files import TextFile
from worker.cli.provider import budget_of, provider_options
from worker.cli.runs import carry_out, json_option, listed, message_options, request_id_option
from worker.db.runs import Provider
from worker.errors import UsageError
from worker.steps.start import Request


@click.command()
@click.argument("run_id", metavar="[RUN]", type=RUN, required=False)
@click.option(
    "--bot-id",
    "bot_ids",
    type=TEXT,
    multiple=True,
    metavar="BOT",
    help="Only this bot. Repeatable.",
)
@click.option(
    "--bots-from",
    type=TextFile(),
    help="Only the bots in this file (- for standard input), an id a line.",
)
@message_options
@click.option(
    "--sample",
    type=click.IntRange(1),
    metavar="N",
    help="Try each bot on N of the messages.  [default: all; with `live` 1]",
)
@provider_options
@request_id_option
@click.option("--detach", is_flag=True, help="Start the run and leave; follow it with `watch`.")
@click.option("--verbose", "-v", is_flag=True, help="Name every bot and what became of it.")
@json_option
def validate(
    *,
    run_id: int | None,
    bot_ids: tuple[str, ...],
    bots_from: TextIO | None,
    messages: tuple[str, ...],
    messages_from: TextIO | None,
    sample: int | None,
    provider: Provider,
    max_requests: int | None,
    max_tokens: int | None,
    max_money: str | None,
    request_id: str | None,
    detach: bool,
    verbose: bool,
    as_json: bool,
) -> int:
    """Execute drafts beside V1, as they stand: those of a run's bots, or of the bots named.

    Each draft is run on every message (built-in ones in Korean and English, or yours), and V1 on
    the same; the executions are recorded where the platform keeps its own, with session ids that
    begin with `flowshift:`. A draft that does not do what V1 does fails. Nothing else is written.

    \b
    flowshift validate 3                             the drafts of run 3
    flowshift validate --bot-id bot_000005 --message "환불은 언제 되나요?"
    flowshift validate 3 --provider live --max-requests 500
    """
    chosen = listed(bot_ids, bots_from, "bot ids")
    if run_id is None and chosen is None:
        raise UsageError("say which drafts: a run's number, or --bot-id")
    request = Request(
        kind="validate",
        of_run=run_id,
        bot_ids=chosen,
        validate=None if sample is None else f"sample:{sample}",
        messages=listed(messages, messages_from, "messages") or (),
        provider=provider,
        budget=budget_of(max_requests, max_tokens, max_money),
    )
    return carry_out(
        request, request_id=request_id, detach=detach, verbose=verbose, as_json=as_json
    )
