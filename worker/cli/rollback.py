"""The command that gives bots back to V1: rollback."""

from __future__ import annotations

import click

from worker.app import app
from worker.cli import workers
from worker.cli.arguments import RUN, TEXT, Whole
from worker.cli.options import json_option, reason_option, yes_option
from worker.cli.printing import confirm_count, print_json, say
from worker.cli.session import configure_logging, opened, person
from worker.cli.views.rollback import print_preview, print_result, shown
from worker.core.counted import counted
from worker.db.publication.rolling import Which
from worker.errors import ConfigError, UsageError
from worker.queue.dispatch import CeleryQueue
from worker.runtime import Runtime
from worker.servers.connect import check_redis_and_queue
from worker.steps.enqueue import top_up
from worker.steps.publication import detached
from worker.steps.publication import rollback as step
from worker.steps.publication.rollback import Look
from worker.steps.publication.rollback_view import rollback_view


@click.command()
@click.option(
    "--bot-id",
    "bot_ids",
    type=TEXT,
    multiple=True,
    metavar="BOT",
    show_default="none",
    help="Roll back this bot. Repeatable.",
)
@click.option(
    "--publication",
    "publication_id",
    type=RUN,
    metavar="N",
    show_default="none",
    help="Roll back what this publication has live.",
)
@click.option(
    "--wave",
    type=Whole(1),
    metavar="N",
    show_default="every wave",
    help="Only this wave of --publication.",
)
@click.option("--all", "everything", is_flag=True, help="Roll back all that flowshift published.")
@click.option("--dry-run", is_flag=True, help="Only show the preview.")
@click.option(
    "--plan",
    type=TEXT,
    metavar="DIGEST",
    show_default="none",
    help="Refuse if anything has changed since the preview with this digest.",
)
@click.option(
    "--detach", is_flag=True, help="Let workers do it, and return; `watch` follows the run."
)
@reason_option
@yes_option
@json_option
def rollback(
    *,
    bot_ids: tuple[str, ...],
    publication_id: int | None,
    wave: int | None,
    everything: bool,
    dry_run: bool,
    plan: str | None,
    detach: bool,
    reason: str | None,
    yes: bool,
    as_json: bool,
) -> int:
    """Let V1 answer again, for bots that flowshift published.

    Only use_workflow_v2 changes, and only where the live version is the one that flowshift
    published. Versions and drafts stay as they are. It needs PostgreSQL alone: neither Redis nor
    workers. A row that another session has locked is not waited for: its bot comes again in the
    next round, until no bot is left. Ctrl-C ends it; bots that are back stay back.

    With --detach workers do it, as a run for each publication, and survive this command's end; it
    needs the queue and workers that may publish.

    The preview comes first, with a digest. The command asks for the number of bots to be typed; in a
    script, use --yes.

    The exit code is 0 if V1 answers on every bot asked for. It is 1 if bots stay on V2: a later version
    is live, or V1 is gone or does not run. It is 2 if nothing was done: a plan that is out of date, an
    unknown bot or publication.

    \b
    Examples:
      flowshift rollback --bot-id bot_000005
      flowshift rollback --publication 3 --dry-run
      flowshift rollback --publication 3 --wave 2 --detach --yes
      flowshift rollback --all --yes --reason "errors since the release"
    """
    configure_logging()
    which = _which(bot_ids, publication_id, wave, everything=everything)
    with opened(needs_redis=False) as current:
        if detach:
            _need_queue(current)
        seen = step.look(current, which)
        if not as_json or not (dry_run or yes):
            print_preview(seen, err=as_json)
        step.need_plan(seen, plan)
        if dry_run or not seen.publication_ids:
            if as_json:
                print_json(rollback_view(seen, dry_run=dry_run))
            return 0
        _confirm(seen, yes=yes)
        digest = plan if yes else seen.preview.digest
        if detach:
            return _detach(current, which, seen, digest, reason, as_json=as_json)
        return _roll_back(current, which, seen, digest, reason, as_json=as_json)


def _which(
    bot_ids: tuple[str, ...], publication_id: int | None, wave: int | None, *, everything: bool
) -> Which:
    if sum((bool(bot_ids), publication_id is not None, everything)) != 1:
        raise UsageError("say what to roll back: --bot-id, --publication or --all, one of them")
    if wave is not None and publication_id is None:
        raise UsageError("--wave is a wave of a publication: say --publication too")
    return Which(
        bot_ids=tuple(dict.fromkeys(bot_ids)) or None, publication_id=publication_id, wave=wave
    )


def _need_queue(current: Runtime) -> None:
    """Refuse to wait for workers that could not be told, since a rollback needs none of them."""
    try:
        check_redis_and_queue(current.servers, current.settings)
    except ConfigError as error:
        said = "nothing was changed. Without --detach a rollback needs neither Redis nor workers"
        raise ConfigError(f"{str(error).rstrip('.')}: {said}") from error


def _confirm(seen: Look, *, yes: bool) -> None:
    bots = seen.preview.returns.bots
    if bots:
        what = "bot goes" if bots == 1 else "bots go"
        confirm_count(f"{bots:,} {what} back to V1.", bots, yes=yes)


def _detach(
    current: Runtime,
    which: Which,
    seen: Look,
    digest: str | None,
    reason: str | None,
    *,
    as_json: bool,
) -> int:
    found = detached.detach(current, which, digest=digest, actor=person(), reason=reason)
    run_ids = [one.run_id for one in found if one.run_id is not None]
    if as_json:
        print_json(rollback_view(seen, runs=tuple(run_ids)))
    queue = CeleryQueue(app)
    for one in found:
        if one.run_id is not None:
            window = current.settings.batch_window
            top_up(current.engine, queue, one.run_id, window=window)
            say(
                f"run {one.run_id} rolls back {counted(one.bots, 'bot')} of publication"
                f" {one.publication_id}: flowshift watch {one.run_id}",
                err=as_json,
            )
    if run_ids:
        workers.hint(current, run_ids[0])
    return 0


def _roll_back(
    current: Runtime,
    which: Which,
    seen: Look,
    digest: str | None,
    reason: str | None,
    *,
    as_json: bool,
) -> int:
    with shown(quiet=as_json) as show:
        result = step.roll_back(
            current,
            which,
            digest=digest,
            actor=person(),
            reason=reason,
            show=show,
        )
    if as_json:
        print_json(rollback_view(seen, result=result))
    else:
        print_result(result)
    if result.interrupted:
        say("interrupted: run the command again for the rest", err=True)
        return 130
    return 1 if result.stays else 0
