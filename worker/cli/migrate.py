"""The command that converts bots: migrate."""

from __future__ import annotations

from typing import TextIO

import click
import msgspec

from worker.cli.arguments import Whole
from worker.cli.files import listed
from worker.cli.options import (
    RunLimits,
    Starting,
    bot_ids_option,
    bots_from_option,
    limit_options,
    messages_from_option,
    messages_option,
    starting_options,
    strict_option,
    target_option,
)
from worker.cli.starting import start_and_report
from worker.core.codes import WarningCode
from worker.core.policy.limits import BATCH_SIZES
from worker.steps.request import Request


@click.command()
@click.option(
    "--dry-run", is_flag=True, help="Do everything, but write nothing into the platform's tables."
)
@bot_ids_option
@bots_from_option
@click.option(
    "--limit",
    type=Whole(1),
    metavar="N",
    show_default="all",
    help="Only the first N bots that have a workflow.",
)
@click.option(
    "--batch-size",
    type=Whole(*BATCH_SIZES),
    metavar="N",
    show_default="FLOWSHIFT_BATCH_SIZE",
    help="N bots in a batch.",
)
@click.option("--overwrite-edited", is_flag=True, help="Also replace drafts that a person edited.")
@click.option(
    "--include-flagged",
    is_flag=True,
    help="Also take bots that are flagged V2 and have no published version.",
)
@click.option(
    "--live-drafts",
    is_flag=True,
    help="Also write drafts that the platform runs at once: of bots flagged V2 without a version.",
)
@click.option(
    "--validate",
    default="sample:1",
    metavar="none|sample:N|all",
    help="Execute each draft beside V1 on no message, on N of them, or on all.",
)
@messages_option
@messages_from_option
@limit_options
@target_option
@strict_option
@starting_options
def migrate(
    *,
    dry_run: bool,
    bot_ids: tuple[str, ...],
    bots_from: TextIO | None,
    limit: int | None,
    batch_size: int | None,
    overwrite_edited: bool,
    include_flagged: bool,
    live_drafts: bool,
    validate: str,
    messages: tuple[str, ...],
    messages_from: TextIO | None,
    limits: RunLimits,
    target: str | None,
    strict: tuple[WarningCode, ...] | None,
    starting: Starting,
) -> int:
    """Convert bots from V1 to V2 drafts: all of them, or those that you choose.

    A draft that is up to date stays as it is, so a second run changes nothing. Published bots are
    skipped, and so are drafts that a person edited.

    Each draft is executed beside V1 on a built-in message, or on yours. No model is asked. A bot
    fails if its draft does not do what V1 does.

    The exit code is 1 if bots failed or the run did not complete.

    \b
    Examples:
      flowshift migrate --dry-run            # what a run would do
      flowshift migrate --limit 5 --verbose  # a few bots, to look at
      flowshift migrate                      # the fleet
    """
    request = Request(
        dry_run=dry_run,
        bot_ids=listed(bot_ids, bots_from, "bot ids"),
        limit=limit,
        batch_size=batch_size,
        overwrite_edited=overwrite_edited,
        include_flagged=include_flagged,
        live_drafts=live_drafts,
        validate=validate,
        messages=listed(messages, messages_from, "messages") or (),
        target=target,
        strict=strict,
        **msgspec.structs.asdict(limits),
    )
    return start_and_report(request, starting)
