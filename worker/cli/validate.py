"""The command that executes the drafts that are there: validate."""

from __future__ import annotations

from typing import TextIO

import click

from worker.cli.arguments import Whole
from worker.cli.files import listed
from worker.cli.options import (
    Starting,
    bot_ids_option,
    bots_from_option,
    messages_from_option,
    messages_option,
    optional_run_argument,
    starting_options,
    strict_option,
    target_option,
)
from worker.cli.provider import Answering, provider_options
from worker.cli.starting import start_and_report
from worker.core.codes import WarningCode
from worker.errors import UsageError
from worker.steps.request import Request


@click.command()
@optional_run_argument
@bot_ids_option
@bots_from_option
@messages_option
@messages_from_option
@click.option(
    "--sample",
    type=Whole(1),
    metavar="N",
    show_default="all, with `live` 1",
    help="Execute each draft on N of the messages.",
)
@provider_options
@target_option
@strict_option
@starting_options
def validate(
    *,
    run_id: int | None,
    bot_ids: tuple[str, ...],
    bots_from: TextIO | None,
    messages: tuple[str, ...],
    messages_from: TextIO | None,
    sample: int | None,
    answering: Answering,
    target: str | None,
    strict: tuple[WarningCode, ...] | None,
    starting: Starting,
) -> int:
    """Execute drafts beside V1, as they are: those of RUN's bots, or of the bots that you name.

    Each draft is executed on every message, built-in ones in Korean and English or yours, and so is
    V1. The executions are recorded in the platform's own tables; their session ids begin with
    `flowshift:`. Nothing else is written.

    The exit code is 1 if a draft does not do what V1 does, or the run did not complete.

    \b
    Examples:
      flowshift validate 3
      flowshift validate --bot-id bot_000005 --message "환불은 언제 되나요?"
      flowshift validate 3 --provider live --max-requests 500
    """
    chosen = listed(bot_ids, bots_from, "bot ids")
    if run_id is None and chosen is None:
        raise UsageError("name the drafts: give a run's number, or --bot-id")
    request = Request(
        kind="validate",
        of_run=run_id,
        bot_ids=chosen,
        validate=None if sample is None else f"sample:{sample}",
        messages=listed(messages, messages_from, "messages") or (),
        provider=answering.provider,
        budget=answering.budget(),
        target=target,
        strict=strict,
    )
    return start_and_report(request, starting)
