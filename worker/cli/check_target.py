"""The command that holds the built-in corpus against the platform's own word: check-target."""

from __future__ import annotations

from contextlib import closing

import click

from worker import settings
from worker.cli.options import json_option, target_option
from worker.cli.printing import console, print_json
from worker.cli.session import configure_logging, opened
from worker.cli.views.check_target import print_checked
from worker.core.targets.detect import AUTO, SETTING, Choice, without_database
from worker.core.targets.registry import TARGETS
from worker.runtime import NO_SERVERS, Runtime
from worker.settings import Settings
from worker.steps.check_target import check_target
from worker.steps.target import read_target


@click.command("check-target")
@target_option
@json_option
def command(*, target: str | None, as_json: bool) -> int:
    """Convert and run the built-in corpus, and say what the platform's own word makes of it.

    The corpus has workflows of every kind that V1 runs: shapes, prompts, ids, configurations. Each is
    converted and executed on several messages by flowshift's engines. Then the platform's validator
    (FLOWSHIFT_PLATFORM_CHECK) judges each draft, and its engine (FLOWSHIFT_PLATFORM_ENGINE) executes
    it. Nothing is written. The database is looked at only where `auto` decides the target and
    FLOWSHIFT_DATABASE_URL is set.

    The exit code is 0 if nothing differs, 1 if something does, 3 if the platform cannot be asked.
    Without a word of the platform's the command says so, and the exit code is flowshift's own engines'.

    \b
    Examples:
      flowshift check-target
      flowshift check-target --target answer --json
    """
    configure_logging()
    values = settings.load()
    choice = _choice(target, values)
    with closing(Runtime(values, NO_SERVERS)) as current:
        equipment = current.echo_for(TARGETS[choice.target])
        found = check_target(choice, equipment, current.platform, current.defaults)
    if as_json:
        print_json(found)
    else:
        print_checked(console(), found)
    return 1 if found.differences else 0


def _choice(asked: str | None, values: Settings) -> Choice:
    named = values.target if asked is None else asked
    if named == AUTO and values.database_url:
        with opened(needs_redis=False, needs_tables=False) as current:
            return read_target(current.engine, asked, values.target)
    reason = "no database was looked at" if named == AUTO else "--target says so"
    if asked is None and named != AUTO:
        reason = f"{SETTING} says so"
    return Choice(without_database(asked, values.target).name, reason)
