"""The commands that publish wave by wave: publish, publications, publication, go, hold, stop."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any, TextIO, TypeVar

import click

from worker.app import app
from worker.cli import workers
from worker.cli.arguments import RUN, TEXT
from worker.cli.files import TextFile, listed
from worker.cli.options import (
    bot_ids_option,
    bots_from_option,
    count_option,
    json_option,
    optional_run_argument,
    reason_option,
    yes_option,
)
from worker.cli.printing import confirm_count, console, print_json, say
from worker.cli.session import configure_logging, opened, person
from worker.cli.starting import follow_to_end, print_report
from worker.cli.views.publication import (
    plan_fields,
    print_plan,
    print_publication,
    publication_fields,
    publications_table,
)
from worker.core.publication.sizes import DEFAULT_WAVES, parse_waves
from worker.core.publication.versions import NEXT_DRAFTS, NextDraft
from worker.core.publication.waves import Wishes
from worker.db.publication.waves import Options
from worker.errors import UsageError
from worker.queue.dispatch import CeleryQueue
from worker.runtime import Runtime
from worker.steps.enqueue import top_up
from worker.steps.publication import control
from worker.steps.publication.control import Going
from worker.steps.publication.plan import Wanted, look
from worker.steps.publication.report import newest_publications, publication_of
from worker.steps.target import read_target

Command = TypeVar("Command", bound=Callable[..., Any])

publication_argument = click.argument("publication_id", metavar="N", type=RUN)
detach_option = click.option(
    "--detach", is_flag=True, help="Begin the wave and return; `watch` follows its run."
)


def _bots_file_option(name: str, help_text: str) -> Callable[[Command], Command]:
    """An option that takes a file of bot ids."""
    return click.option(name, type=TextFile(), metavar="FILE", show_default="none", help=help_text)


@click.command()
@optional_run_argument
@bot_ids_option
@bots_from_option
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
    dry_run: bool,
    request_id: str | None,
    detach: bool,
    yes: bool,
    as_json: bool,
) -> int:
    """Make the drafts of RUN's bots, or of the bots you name, their live versions, wave by wave.

    Every bot is put into a wave; the first wave begins at once. A draft is published only if it is
    the very content that agreed with V1. `flowshift go N` begins each further wave: nothing does so by
    itself yet, and no execution is judged yet. Workers must run as the publisher's role.

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
            ),
        )
        planned = look(current, wanted)
        if not as_json:
            print_plan(planned)
        if dry_run:
            if as_json:
                print_json(plan_fields(planned))
            return 0
        bots = len(planned.plan.bot_ids)
        confirm_count(f"{bots:,} bots are to go live, wave by wave.", bots, yes=yes)
        going = control.publish(
            current, wanted, request_id=request_id or str(uuid.uuid4()), actor=person()
        )
        return _follow(current, going, detach=detach, as_json=as_json)


@click.command()
@publication_argument
@reason_option
@detach_option
@json_option
def go(*, publication_id: int, reason: str | None, detach: bool, as_json: bool) -> int:
    """Let publication N go on.

    If it is held, it goes back to what it was doing. If its wave is out, you accept that wave, with
    --reason on record, and the next one begins; after the last one the publication is completed.
    Bots that a failed batch left are published again.

    \b
    Examples:
      flowshift go 1 --reason "an hour without errors"
      flowshift go 1 --detach
    """
    configure_logging()
    with opened() as current:
        going = control.go(current, publication_id, actor=person(), reason=reason)
        return _follow(current, going, detach=detach, as_json=as_json)


@click.command()
@publication_argument
@reason_option
def hold(*, publication_id: int, reason: str | None) -> int:
    """Hold publication N: batches at work commit, no other bot is published.

    `flowshift go N` lets it go on. What is out stays out; `flowshift rollback` takes it back.

    \b
    Examples:
      flowshift hold 1 --reason "many complaints"
    """
    configure_logging()
    with opened(needs_redis=False) as current:
        changed = control.hold(current, publication_id, actor=person(), reason=reason)
        say(f"publication {publication_id} is {'' if changed else 'already '}held")
    return 0


@click.command()
@publication_argument
@reason_option
def stop(*, publication_id: int, reason: str | None) -> int:
    """Stop publication N for good: what is out stays out, no other bot is published.

    `flowshift rollback --publication N` takes back what is out.

    \b
    Examples:
      flowshift stop 1 --reason "the rest waits for the next release"
    """
    configure_logging()
    with opened(needs_redis=False) as current:
        changed = control.stop(current, publication_id, actor=person(), reason=reason)
        say(f"publication {publication_id} is {'' if changed else 'already '}stopped")
    return 0


@click.command()
@count_option(20)
@json_option
def publications(*, limit: int, as_json: bool) -> int:
    """List publications, the newest first.

    \b
    Examples:
      flowshift publications
      flowshift publications --limit 5 --json
    """
    configure_logging()
    with opened(needs_redis=False) as current:
        found = newest_publications(current.engine, limit)
    if as_json:
        print_json([publication_fields(*one) for one in found])
    elif found:
        console().print(publications_table(found))
    else:
        say("no publications yet: flowshift publish RUN --dry-run")
    return 0


@click.command()
@publication_argument
@json_option
def publication(*, publication_id: int, as_json: bool) -> int:
    """Show publication N: its state, and each wave with its run and its bots.

    \b
    Examples:
      flowshift publication 1
      flowshift publication 1 --json
    """
    configure_logging()
    with opened(needs_redis=False) as current:
        found, its = publication_of(current.engine, publication_id)
    if as_json:
        print_json(publication_fields(found, its))
    else:
        print_publication(console(), found, its)
    return 0


def _follow(current: Runtime, going: Going, *, detach: bool, as_json: bool) -> int:
    say(f"publication {going.publication_id} {going.said}", err=as_json)
    if going.run_id is None:
        return 0
    queue = CeleryQueue(app)
    top_up(current.engine, queue, going.run_id, window=current.settings.batch_window)
    if detach:
        say(f"follow it: flowshift watch {going.run_id}", err=as_json)
        workers.hint(current, going.run_id)
        return 0
    follow_to_end(current, going.run_id, quiet=as_json)
    return print_report(current, going.run_id, as_json=as_json)
