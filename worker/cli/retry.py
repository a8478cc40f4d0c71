"""The command that takes bots again that failed, or that a publication gave back to V1: retry."""

from __future__ import annotations

from typing import Final

import click
import msgspec

from worker.cli.arguments import RUN, TEXT
from worker.cli.options import (
    RunLimits,
    Starting,
    bot_ids_option,
    code_option,
    limit_options,
    optional_run_argument,
    starting_options,
    strict_option,
    target_option,
    yes_option,
)
from worker.cli.publication import without_backup_option
from worker.cli.retry_publication import retry_publication
from worker.cli.starting import start_and_report
from worker.core.codes import FAILURE_CODES, WarningCode
from worker.core.publication.eligibility import CODES
from worker.core.publication.sizes import DEFAULT_WAVES
from worker.errors import UsageError
from worker.steps.request import Request
from worker.steps.retry_publication import Again

_CODES: Final = tuple(dict.fromkeys((*FAILURE_CODES, *CODES)))


@click.command()
@optional_run_argument
@click.option(
    "--publication",
    "publication_id",
    type=RUN,
    metavar="N",
    show_default="none",
    help="Instead of RUN: convert, prove and publish what publication N took back.",
)
@code_option(_CODES, help_text="Only bots that failed, or were not published, with this code.")
@bot_ids_option
@limit_options
@target_option
@strict_option
@click.option(
    "--waves",
    type=TEXT,
    metavar="WAVES",
    default=DEFAULT_WAVES,
    help="With --publication: how many go when; the first is one bot.",
)
@click.option(
    "--publish-edited",
    is_flag=True,
    help="With --publication: validate and publish drafts that a person changed, too.",
)
@without_backup_option
@yes_option
@starting_options
def retry(
    *,
    run_id: int | None,
    publication_id: int | None,
    code: str | None,
    bot_ids: tuple[str, ...],
    limits: RunLimits,
    target: str | None,
    strict: tuple[WarningCode, ...] | None,
    waves: str,
    publish_edited: bool,
    without_backup: bool,
    yes: bool,
    starting: Starting,
) -> int:
    """Start a new run over exactly the bots that failed in RUN, or publish anew what N took back.

    With RUN it does what RUN did: a dry run is retried as a dry run, a validation as a validation.

    With --publication N it takes the bots of that publication that were rolled back, quarantined or
    failed; with --code those that it skipped or failed with that code. A run converts them from the V1
    that is there now and executes each draft beside V1 on every built-in message. What agreed becomes
    the next version, in a publication of its own that begins with one bot. A draft that a person changed
    is kept, and published only with --publish-edited. The command asks for the number of bots to be typed
    (--yes does not). Everything is recorded at once: if the command is killed, workers and the beat go on.

    The exit code is 1 if bots failed again, the run did not complete, or nothing was published.

    \b
    Examples:
      flowshift retry 3
      flowshift retry 3 --code worker_lost --concurrency 1
      flowshift retry --publication 1
      flowshift retry --publication 1 --bot-id bot_000005 --publish-edited
    """
    if (run_id is None) == (publication_id is None):
        raise UsageError("name what to retry: a run's number, or --publication and its number")
    request = Request(target=target, strict=strict, **msgspec.structs.asdict(limits))
    if publication_id is not None:
        again = Again(
            publication_id=publication_id,
            code=code,
            bot_ids=bot_ids or None,
            waves=waves,
            publish_edited=publish_edited,
            without_backup=without_backup,
            request=request,
        )
        return retry_publication(again, starting, yes=yes)
    if publish_edited or without_backup or yes or waves != DEFAULT_WAVES:
        raise UsageError(
            "--waves, --publish-edited, --without-backup and --yes belong to --publication"
        )
    if code is not None and code not in FAILURE_CODES:
        raise UsageError(f"no bot of a run that converts or validates fails with {code}")
    asked = msgspec.structs.replace(request, retry_of=run_id, code=code, bot_ids=bot_ids or None)
    return start_and_report(asked, starting)
