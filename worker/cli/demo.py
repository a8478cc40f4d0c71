"""The command that shows everything on a machine with nothing: demo."""

from __future__ import annotations

import os

import click

from worker.app import app
from worker.cli.arguments import Whole
from worker.cli.follow import follow
from worker.cli.options import target_option
from worker.cli.printing import Text, console, say
from worker.cli.session import configure_logging, opened, person
from worker.cli.signals import stoppable, wait
from worker.cli.story import GATE, Story
from worker.cli.views.bot import print_bot
from worker.cli.views.summary import print_summary
from worker.core.counted import counted
from worker.core.targets.registry import TARGETS
from worker.processes import serve_program
from worker.processes.flower_program import flower_program, flower_url, free_port, state_dir
from worker.processes.supervisor import (
    Program,
    Supervisor,
    beat_program,
    with_environment,
    worker_program,
)
from worker.queue.dispatch import CeleryQueue
from worker.runtime import Runtime
from worker.sample import PREFIX
from worker.steps.examine import Examination, examine_bot
from worker.steps.report import RunReport, report_run
from worker.steps.request import Request
from worker.steps.sample_fleet import add_sample_fleet
from worker.steps.sample_story import story_pages
from worker.steps.start import start_run

FAILURES_SHOWN = 5
LOOKED_AT = f"{PREFIX}{7:08d}"
"""The bot that is shown before and after."""


@click.command()
@click.option(
    "--bots",
    "count",
    type=Whole(1),
    metavar="N",
    default=10_000,
    help="The sample fleet has N bots.",
)
@click.option(
    "--exit",
    "exits",
    is_flag=True,
    default=lambda: os.environ.get("DEMO_EXIT") == "1",
    show_default="DEMO_EXIT=1 in the environment",
    help="End when the story is over; do not wait for Ctrl-C.",
)
@target_option
def demo(*, count: int, exits: bool, target: str | None) -> int:
    """Convert a sample fleet, publish a part of it and take it back, then stay up to look around.

    The command starts servers, a worker, the beat, Flower and `flowshift serve`; their logs go to the
    data directory. It converts and tries the fleet, publishes some of its bots in waves while simulated
    users write to them, lets the gate catch a bot that is sick on V2, and rolls everything back. If you run
    it again, the sample fleet is there already, and only the bots that were published get new drafts. With
    `--target answer` the sample's tables get the columns of that platform.

    \b
    Examples:
      flowshift demo
      flowshift demo --bots 500 --exit
      flowshift demo --target answer
    """
    configure_logging()
    with stoppable(), opened() as current:
        values = current.settings
        say(f"PostgreSQL and Redis answer; data directory {values.data_path}")
        added = add_sample_fleet(current.engine, count, asked=target, setting=values.target)
        say(
            f"sample fleet: {counted(count, 'bot')}" + (f", {added:,} of them new" if added else "")
        )
        port = free_port(values)
        web_port = serve_program.free_port(values)
        pages = serve_program.serve_url(values, web_port)
        with Supervisor(
            _programs(current, port, web_port),
            shutdown_s=values.shutdown_s,
            log_dir=values.data_path / "log",
        ) as supervisor:
            say(f"worker, beat and Flower started: {flower_url(values, port)}")
            say(f"pages and HTTP: {pages}")
            run = start_run(
                current, CeleryQueue(app), Request(target=target), requested_by=person()
            )
            progress = follow(current, run.run_id, meanwhile=supervisor.tend)
            report = report_run(current.engine, progress.run_id, most_failures=FAILURES_SHOWN)
            _explain(current, report, target)
            story = Story(
                current,
                TARGETS[report.run.options.target],
                supervisor.tend,
                values.data_path / "demo",
            )
            told = story.tell(progress.run_id)
            say("")
            say(f"Pages: {pages}")
            for path, what in story_pages(current.engine, progress.run_id, LOOKED_AT):
                say(f"  {pages}{path}  {what}")
            say(f"Flower: {flower_url(values, port)}")
            say("Look around: flowshift status · flowshift runs · flowshift show BOT")
            if not exits:
                say("Everything keeps running; Ctrl-C stops it.")
                wait(supervisor)
            return 0 if told else 1
    return 0


def _programs(current: Runtime, port: int, web_port: int) -> list[Program]:
    """The processes that do the work, with a gate that decides within seconds."""
    state = state_dir(current.settings)
    programs = (
        worker_program(current.settings.worker_processes),
        beat_program(state / "celerybeat-schedule"),
        flower_program(current.settings, port, state),
        serve_program.serve_program(current.settings, web_port),
    )
    named = serve_program.own_address(current.settings, web_port)
    return with_environment(programs, {**GATE, **named})


def _explain(current: Runtime, report: RunReport, asked: str | None) -> None:
    """Print what the run came to, and one of its bots."""
    out = console()
    print_summary(out, report)
    out.line()
    out.print(Text("one bot, before and after", "bold"))
    print_bot(out, _examined(current, LOOKED_AT, asked))


def _examined(current: Runtime, bot_id: str, asked: str | None) -> Examination:
    return examine_bot(
        current.engine,
        bot_id,
        current.defaults,
        current.echo_for,
        asked=asked,
        setting=current.settings.target,
    )
