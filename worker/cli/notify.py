"""The commands about notifications: notify list, notify test, notify forget."""

from __future__ import annotations

import click

from worker import settings
from worker.cli.arguments import TEXT
from worker.cli.options import count_option, json_option, reason_option
from worker.cli.printing import console, print_json, say
from worker.cli.session import configure_logging, opened, person
from worker.cli.views.notify import print_stuck, print_told, tested_line
from worker.core.counted import counted
from worker.steps.notify import show
from worker.steps.notify.forget import forget_channel
from worker.steps.notify.test import send_test


@click.group()
def notify() -> None:
    """List what people were told, send them a test, or forget a channel.

    \b
    Examples:
      flowshift notify list
      flowshift notify test        # to every channel
      flowshift notify test ops    # to one
    """


@notify.command("list", short_help="List notifications, and what became of each.")
@count_option(50, 10_000)
@json_option
def list_notifications(*, limit: int, as_json: bool) -> int:
    """List the newest notifications, the newest last, and what became of each at every channel.

    The exit code is 1 if a channel has not taken what it should have.

    \b
    Examples:
      flowshift notify list
      flowshift notify list --limit 500 --json
    """
    configure_logging()
    with opened(needs_redis=False) as current:
        told, stuck = show.recent(current.engine, limit), show.stuck(current.engine)
    if as_json:
        print_json({"notifications": told, "stuck": stuck})
        return 1 if stuck else 0
    if told:
        print_told(console(), told)
    else:
        say("nothing has happened that people are told of")
    print_stuck(console(), stuck)
    return 1 if stuck else 0


@notify.command(short_help="Send a test to every channel, or to one.")
@click.argument("channel", metavar="[CHANNEL]", type=TEXT, required=False)
@json_option
def test(*, channel: str | None, as_json: bool) -> int:
    """Send a test to CHANNEL, or to every channel, and print what each answered.

    It is sent at once, from here: without the database, the queue or a worker. The exit code is 1 if a
    channel did not take it.

    \b
    Examples:
      flowshift notify test
      flowshift notify test ops --json
    """
    configure_logging()
    tested = send_test(settings.load(), channel, actor=person())
    if as_json:
        print_json(tested)
    else:
        for one in tested:
            say(tested_line(one))
    return 0 if all(one.answer.result == "sent" for one in tested) else 1


@notify.command(short_help="Forget a channel that was removed from the file.")
@click.argument("channel", metavar="CHANNEL", type=TEXT)
@reason_option
@json_option
def forget(*, channel: str, reason: str | None, as_json: bool) -> int:
    """Forget CHANNEL, which was removed from the file of channels, or is called otherwise now.

    What waits for it is given up, and no longer stuck; what it got stays in `flowshift notify list`. A
    channel that the file here still has is refused. The audit trail has who did it, and why.

    \b
    Examples:
      flowshift notify forget pager
      flowshift notify forget pager --reason "the team uses another one"
    """
    configure_logging()
    with opened(needs_redis=False) as current:
        forgotten = forget_channel(current, channel, actor=person(), reason=reason)
    if as_json:
        print_json(forgotten)
    else:
        waited = counted(forgotten.given_up, "notification")
        say(f"{channel} is forgotten: {waited} that waited for it given up")
    return 0
