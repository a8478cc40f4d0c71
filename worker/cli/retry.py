"""The command that takes failed bots again: retry."""

from __future__ import annotations

import click
import msgspec

from worker.cli.options import (
    RunLimits,
    Starting,
    bot_ids_option,
    code_option,
    limit_options,
    run_argument,
    starting_options,
    strict_option,
    target_option,
)
from worker.cli.starting import start_and_report
from worker.core.codes import FAILURE_CODES, WarningCode
from worker.steps.request import Request


@click.command()
@run_argument
@code_option(FAILURE_CODES, help_text="Only bots that failed with this code.")
@bot_ids_option
@limit_options
@target_option
@strict_option
@starting_options
def retry(
    *,
    run_id: int,
    code: str | None,
    bot_ids: tuple[str, ...],
    limits: RunLimits,
    target: str | None,
    strict: tuple[WarningCode, ...] | None,
    starting: Starting,
) -> int:
    """Start a new run over exactly the bots that failed in RUN.

    It does what RUN did: a dry run is retried as a dry run, a validation as a validation.

    The exit code is 1 if bots failed again or the run did not complete.

    \b
    Examples:
      flowshift retry 3
      flowshift retry 3 --code worker_lost --concurrency 1
    """
    request = Request(
        retry_of=run_id,
        code=code,
        bot_ids=bot_ids or None,
        target=target,
        strict=strict,
        **msgspec.structs.asdict(limits),
    )
    return start_and_report(request, starting)
