"""The commands that show a publication and move it by hand: publications, publication, go, hold, stop."""

from __future__ import annotations

import click

from worker.app import app
from worker.cli import workers
from worker.cli.arguments import RUN
from worker.cli.options import count_option, json_option, reason_option
from worker.cli.printing import console, print_json, print_json_with, say
from worker.cli.session import configure_logging, opened, person
from worker.cli.starting import follow_to_end, print_report
from worker.cli.views.publication import (
    print_publication,
    print_publications,
    publication_head,
    wave_fields,
)
from worker.queue.dispatch import CeleryQueue
from worker.runtime import Runtime
from worker.steps.enqueue import top_up
from worker.steps.publication import control
from worker.steps.publication.begin import Going
from worker.steps.publication.report import newest_publications, read_publication

publication_argument = click.argument("publication_id", metavar="N", type=RUN)
detach_option = click.option(
    "--detach", is_flag=True, help="Begin the wave and return; `watch` follows its run."
)


without_backup_option = click.option(
    "--without-backup",
    is_flag=True,
    help="Let waves of 10 % and more begin without a recently verified backup.",
)


@click.command()
@publication_argument
@without_backup_option
@reason_option
@detach_option
@json_option
def go(
    *, publication_id: int, without_backup: bool, reason: str | None, detach: bool, as_json: bool
) -> int:
    """Let publication N go on.

    If it is held, it goes back to what it was doing. If it is held since a wave failed or was
    inconclusive, that wave is accepted, which needs --reason, and the next one begins. A wave that failed
    before it was all out is published on, and only executions from now on count for it. Bots that a
    failed batch left are published again.

    While a wave is watched nothing changes, but that --without-backup is noted for the waves to come: the
    gate decides, and `flowshift accept N WAVE` accepts it now.

    \b
    Examples:
      flowshift go 1
      flowshift go 1 --reason "the provider was down, and works again"
    """
    configure_logging()
    with opened() as current:
        going = control.go(
            current,
            publication_id,
            actor=person(),
            reason=reason,
            without_backup=without_backup,
        )
        return follow_going(current, going, detach=detach, as_json=as_json)


@click.command()
@publication_argument
@reason_option
def hold(*, publication_id: int, reason: str | None) -> int:
    """Hold publication N: batches at work commit, no other bot is published, the gate does not look.

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
    """List publications, the newest first: since when each is in its state, what is out, and why it waits.

    \b
    Examples:
      flowshift publications
      flowshift publications --limit 5 --json
    """
    configure_logging()
    with opened(needs_redis=False) as current:
        found = newest_publications(current.engine, limit)
    if as_json:
        print_json(found)
    elif found:
        print_publications(console(), found)
    else:
        say("no publications yet: flowshift publish RUN --dry-run")
    return 0


@click.command()
@publication_argument
@json_option
def publication(*, publication_id: int, as_json: bool) -> int:
    """Show publication N: its state, when the gate last looked, and each wave with what it says.

    Of more than 20 waves those are folded at which nothing happens; --json has every wave.
    `flowshift gate N` says why.

    \b
    Examples:
      flowshift publication 1
      flowshift publication 1 --json
    """
    configure_logging()
    with opened(needs_redis=False) as current:
        found = read_publication(
            current.engine, current.settings, publication_id, folded=not as_json
        )
    if as_json:
        print_json_with(publication_head(found), "waves", wave_fields(found))
    else:
        print_publication(console(), found)
    return 0


def follow_going(current: Runtime, going: Going, *, detach: bool, as_json: bool) -> int:
    """Say what a publication does now, and follow the run of its wave; returns the exit code."""
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
