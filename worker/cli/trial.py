"""The command that executes one draft in the foreground: test."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import click

from worker.cli.arguments import TEXT
from worker.cli.options import (
    bot_argument,
    draft_target_option,
    full_option,
    json_option,
    strict_option,
)
from worker.cli.printing import console, print_json
from worker.cli.provider import Answering, provider_options
from worker.cli.session import configure_logging, opened
from worker.cli.views.trial import print_trial, trial_fields
from worker.core.codes import WarningCode, parse_differences
from worker.core.parity.messages import BUILT_IN
from worker.core.parity.trial import Equipment
from worker.core.policy.budget import Limits
from worker.core.targets.target import Target
from worker.db.runs import ECHO, Provider
from worker.errors import UsageError
from worker.providers.budget import LocalBudget
from worker.providers.live import Live, check
from worker.runtime import Runtime
from worker.steps import find
from worker.steps.examine import target_to_try
from worker.steps.try_bot import try_bot


@click.command("test")
@bot_argument
@click.option(
    "--message",
    type=TEXT,
    metavar="TEXT",
    default=BUILT_IN[0],
    help="What the user says to the bot.",
)
@provider_options
@draft_target_option
@strict_option
@full_option
@json_option
def test(
    *,
    bot_id: str,
    message: str,
    answering: Answering,
    target: str | None,
    strict: tuple[WarningCode, ...] | None,
    full: bool,
    as_json: bool,
) -> int:
    """Execute one bot's draft now, node by node, and V1 beside it. Nothing is written.

    No model is asked and nothing is searched unless you give `--provider live`: an echo answers
    both. A bot without a draft is converted for this trial only. A draft is executed by the engine of
    the target that it was written for, unless you name another.

    The exit code is 0 if the draft made V1's calls and gave its answer, 1 if it failed or differs, or
    if it is for another target than the platform's,
    2 if there is no such bot, or it has neither a draft nor a workflow.

    \b
    Examples:
      flowshift test bot_000005
      flowshift test bot_000005 --message "환불은 언제 되나요?" --full
    """
    configure_logging()
    budget = answering.budget()
    with opened(needs_redis=False) as current:
        view, choice = find.bot_and_target(current.engine, bot_id, target, current.settings.target)
        chosen = target_to_try(view.graph, choice, target)
        fails = parse_differences(current.settings.strict) if strict is None else strict
        with _equipment(current, answering.provider, budget, chosen, fails) as equipment:
            tried = try_bot(view, message, current.defaults, equipment, choice.target)
    if as_json:
        print_json(trial_fields(tried))
    else:
        print_trial(console(), tried, full=full)
    return 0 if tried.is_good else 1


@contextmanager
def _equipment(
    current: Runtime,
    provider: Provider,
    budget: Limits | None,
    target: Target,
    strict: tuple[WarningCode, ...],
) -> Iterator[Equipment]:
    if (provider == ECHO) != (budget is None):
        raise UsageError("real models are asked within a budget, and only they need one")
    if budget is None:
        yield current.echo_for(target, strict)
        return
    live_config, registry = check(current.live), current.registry_of(target)
    with Live(live_config, LocalBudget(budget), registry, target=target, strict=strict) as live:
        yield live.equipment
