"""The command of the last step: finish, which clears V1, and brings it back."""

from __future__ import annotations

import click

from worker.cli.arguments import TEXT, Whole
from worker.cli.options import json_option, reason_option, yes_option
from worker.cli.printing import confirm_count, print_json, say
from worker.cli.session import configure_logging, opened, person
from worker.cli.signals import as_interrupt
from worker.cli.views.finish import preview_fields, print_preview, print_result, shown
from worker.core.counted import counted
from worker.core.publication.finishing import Preview, Rules
from worker.errors import UsageError
from worker.runtime import Runtime
from worker.steps.finishing import finish as step
from worker.steps.finishing.finish import What


@click.command()
@click.option(
    "--bot-id",
    "bot_ids",
    type=TEXT,
    multiple=True,
    metavar="BOT",
    show_default="all that are ready",
    help="Only this bot. Repeatable.",
)
@click.option(
    "--days",
    type=Whole(0, 36_500),
    metavar="N",
    default=30,
    help="Only bots that have run V2 for N days without a rollback.",
)
@click.option(
    "--without-executions", is_flag=True, help="Also bots of which no execution was seen."
)
@click.option(
    "--edited-v1", is_flag=True, help="Also bots whose V1 was edited since they were published."
)
@click.option("--undo", is_flag=True, help="Bring V1 and its backups back.")
@click.option("--dry-run", is_flag=True, help="Only show which bots, and why not the others.")
@reason_option
@yes_option
@json_option
def finish(
    *,
    bot_ids: tuple[str, ...],
    days: int,
    without_executions: bool,
    edited_v1: bool,
    undo: bool,
    dry_run: bool,
    reason: str | None,
    yes: bool,
    as_json: bool,
) -> int:
    """Clear V1 of bots that have run V2 for long: the last step of all.

    bots.workflow and its backup (bots.legacy_workflow or flowshift.backups) are copied into
    flowshift.finished_bots, counted and compared, and only then cleared, in one transaction a batch.
    From then on `rollback` has no way back for these bots: `flowshift finish --undo` brings V1 back,
    to the byte, unless a person has written a V1 since.

    A bot goes if it runs V2 since N days (--days) after flowshift published it, without a rollback, a
    published version is live, flowshift's or a person's, and an execution of that version succeeded.

    Only the tables' owner can do it, and it needs a backup of the database that was taken and verified
    less than a day ago. It asks for the number of bots to be typed; in a script, use --yes. Killed
    at any moment, each bot is as it was or wholly finished; run it again for the rest.

    The exit code is 1 if bots that were to go are locked by another session.

    \b
    Examples:
      flowshift finish --dry-run
      flowshift finish --days 60
      flowshift finish --undo --bot-id bot_000005
    """
    configure_logging()
    if undo and (without_executions or edited_v1):
        raise UsageError(
            "--undo brings back all that was cleared: it takes --bot-id, and no other rule"
        )
    rules = Rules(days=days, without_executions=without_executions, edited_v1=edited_v1)
    what = What(bot_ids=tuple(dict.fromkeys(bot_ids)) or None, rules=rules, is_undo=undo)
    with opened(needs_redis=False) as current:
        seen = step.look(current, what)
        if not as_json or not (dry_run or yes):
            print_preview(seen, is_undo=undo, err=as_json)
        if dry_run or not seen.going.bots:
            if as_json:
                print_json(preview_fields(seen, dry_run=dry_run))
            return 0
        return _go(current, what, seen, reason, yes=yes, as_json=as_json)


def _go(
    current: Runtime,
    what: What,
    seen: Preview,
    reason: str | None,
    *,
    yes: bool,
    as_json: bool,
) -> int:
    bots = seen.going.bots
    if not what.is_undo:
        step.need_backup(current, bots)  # said before a person types
    named = counted(bots, "bot")
    confirm_count(
        f"V1 of {named} is to be {'restored' if what.is_undo else 'cleared'}.", bots, yes=yes
    )
    with as_interrupt(), shown("undo" if what.is_undo else "finish", quiet=as_json) as show:
        result = step.finish(current, what, actor=person(), reason=reason, total=bots, show=show)
    if as_json:
        print_json({**preview_fields(seen, dry_run=False), "result": result})
    else:
        print_result(result, is_undo=what.is_undo)
    if result.interrupted:
        say("interrupted: run the command again for the rest", err=True)
        return 130
    return 1 if result.busy else 0
