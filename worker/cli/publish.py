"""The command that plans a publication and begins its first wave: publish."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any, TextIO, TypeVar

import click

from worker.cli.arguments import TEXT
from worker.cli.files import TextFile, listed
from worker.cli.options import (
    json_option,
    optional_run_argument,
    yes_option,
)
from worker.cli.printing import confirm_count, print_json
from worker.cli.publication import detach_option, follow_going, without_backup_option
from worker.cli.session import configure_logging, opened, person
from worker.cli.views.publication import (
    plan_fields,
    print_plan,
)
from worker.core.counted import counted
from worker.core.publication.gate import GATE_MODES, GateMode
from worker.core.publication.sizes import DEFAULT_WAVES, parse_waves
from worker.core.publication.versions import NEXT_DRAFTS, NextDraft
from worker.core.publication.waves import Wishes
from worker.db.publication.waves import Options
from worker.errors import UsageError
from worker.steps.publication import control
from worker.steps.publication.ask_alerts import need_alerts
from worker.steps.publication.plan import Wanted, look
from worker.steps.target import read_target

Command = TypeVar("Command", bound=Callable[..., Any])


def _bots_file_option(name: str, help_text: str) -> Callable[[Command], Command]:
    """An option that takes a file of bot ids."""
    return click.option(name, type=TextFile(), metavar="FILE", show_default="none", help=help_text)


@click.command()
@optional_run_argument
@click.option(
    "--bot-id",
    "bot_ids",
    type=TEXT,
    multiple=True,
    metavar="BOT",
    show_default="none",
    help="Instead of RUN: publish this bot. Repeatable.",
)
@_bots_file_option(
    "--bots-from", "Instead of RUN: the bots in this file, one id a line (- is standard input)."
)
@_bots_file_option("--first", "The bots in this file go first, one id a line.")
@_bots_file_option("--last", "The bots in this file go last.")
@_bots_file_option("--never", "The bots in this file are left out.")
@click.option(
    "--waves", type=TEXT, metavar="WAVES", default=DEFAULT_WAVES, help="How many go when."
)
@click.option(
    "--next-draft",
    type=click.Choice(NEXT_DRAFTS),
    default="empty",
    help="What the draft holds afterwards: nothing, or a copy.",
)
@click.option(
    "--publish-edited", is_flag=True, help="Take drafts that a person changed, if proven."
)
@click.option(
    "--live-drafts", is_flag=True, help="Take bots whose platform may serve the draft now."
)
@click.option(
    "--gate",
    type=click.Choice(GATE_MODES),
    show_default="FLOWSHIFT_GATE",
    help="When a wave fails: observe and pause hold, rollback takes it back if nothing is lost.",
)
@click.option(
    "--alert",
    "alerts",
    type=TEXT,
    multiple=True,
    metavar="NAME",
    show_default="none",
    help="No wave begins or passes while this alert rule fires. Repeatable.",
)
@without_backup_option
@click.option("--dry-run", is_flag=True, help="Only show the waves, and what keeps bots out.")
@click.option(
    "--request-id",
    type=TEXT,
    metavar="TEXT",
    show_default="a new one",
    help="Name this request: the same name again finds the publication that it made.",
)
@detach_option
@yes_option
@json_option
def publish(
    *,
    run_id: int | None,
    bot_ids: tuple[str, ...],
    bots_from: TextIO | None,
    first: TextIO | None,
    last: TextIO | None,
    never: TextIO | None,
    waves: str,
    next_draft: NextDraft,
    publish_edited: bool,
    live_drafts: bool,
    gate: GateMode | None,
    alerts: tuple[str, ...],
    without_backup: bool,
    dry_run: bool,
    request_id: str | None,
    detach: bool,
    yes: bool,
    as_json: bool,
) -> int:
    """Make the drafts of RUN's bots, or of the bots you name, their live versions, wave by wave.

    Every bot is put into a wave; the first wave begins at once. A draft is published only if it is
    the very content that agreed with V1. The gate looks at the executions of each wave: when it
    passes, the next one begins. Workers must run as the publisher's role, and the beat must run.

    A bot that was rolled back or quarantined stays out (taken_back), also if you name it, until it is
    proven again: `flowshift retry --publication N` does all of it.

    A wave of 10 % of the bots and more, if it is more than one bot, waits until the database was backed
    up and that backup verified in the last 24 hours (--without-backup does not wait). With --alert each
    wave waits, the first too, while that rule fires or is not judged (`flowshift alerts`), and one that
    is watched does not pass.

    The exit code is 1 if a bot of the wave failed, or its run did not complete.

    \b
    Examples:
      flowshift publish 3 --dry-run
      flowshift publish 3 --waves "1, canaries, 10 %, all"
      flowshift publish --bots-from first-hundred.txt --yes
    """
    configure_logging()
    named = listed(bot_ids, bots_from, "bot ids")
    if (run_id is None) == (named is None):
        raise UsageError("name what to publish: a run's number, or --bot-id or --bots-from")
    try:
        steps = parse_waves(waves)
        wishes = Wishes(*(listed((), file, "bot ids") or () for file in (first, last, never)))
    except ValueError as error:
        raise UsageError(str(error)) from error
    with opened(needs_redis=not dry_run) as current:
        need_alerts(current.engine, alerts)
        target = read_target(current.engine, None, current.settings.target).target
        wanted = Wanted(
            run_id=run_id,
            bot_ids=named,
            steps=steps,
            wishes=wishes,
            options=Options(
                target=target,
                publish_edited=publish_edited,
                live_drafts=live_drafts,
                next_draft=next_draft,
                needs_backup=not without_backup,
                alerts=alerts,
            ),
        )
        planned = look(current, wanted)
        if not as_json:
            print_plan(planned)
        if dry_run:
            if as_json:
                print_json(plan_fields(planned))
            return 0
        if planned.refusal is not None:
            raise UsageError(planned.refusal)
        bots = len(planned.plan.bot_ids)
        what = counted(bots, "bot is", "bots are")
        confirm_count(f"{what} to go live, wave by wave.", bots, yes=yes)
        going = control.publish(
            current,
            wanted,
            request_id=request_id or str(uuid.uuid4()),
            actor=person(),
            gate=gate,
        )
        return follow_going(current, going, detach=detach, as_json=as_json)
