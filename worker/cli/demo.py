"""The command that shows everything on a machine with nothing: demo."""

from __future__ import annotations

import os

import click
import sqlalchemy as sa

from tasks import start_run
from worker.cli.bots import print_bot
from worker.cli.follow import follow
from worker.cli.printing import Text, console, say
from worker.cli.serve import flower_program, flower_url, free_port, state_dir, stoppable, wait
from worker.cli.session import configure_logging, opened, person, reading
from worker.cli.views import tables
from worker.db import runs
from worker.db.bots import driver
from worker.db.tables import bots
from worker.errors import UsageError
from worker.processes.supervisor import Program, Supervisor, beat_program, worker_program
from worker.runtime import Runtime
from worker.sample import PREFIX, insert_sample
from worker.steps.start import Request


@click.command()
@click.option("--bots", "count", type=click.IntRange(1), default=10_000, show_default=True)
@click.option(
    "--exit",
    "exits",
    is_flag=True,
    default=lambda: os.environ.get("DEMO_EXIT") == "1",
    help="End when the run is over (also DEMO_EXIT=1), instead of waiting for Ctrl-C.",
)
def demo(*, count: int, exits: bool) -> int:
    """Convert a sample fleet from beginning to end, and leave it running to look at.

    Servers, a worker, the beat and Flower are started; what they log goes to the data directory. A
    second time everything is there already and the run finds it unchanged.
    """
    configure_logging()
    with stoppable(), opened() as current:
        values = current.settings
        say(f"PostgreSQL and Redis answer; data directory {values.data_path}")
        added = _fill(current, count)
        say(f"sample fleet: {count:,} bots" + (f", {added:,} of them new" if added else ""))
        port = free_port(values.flower_address, values.flower_port)
        with Supervisor(_programs(current, port), log_dir=values.data_path / "log") as supervisor:
            say(f"worker, beat and Flower started: {flower_url(values, port)}")
            run = start_run(Request(), requested_by=person())
            progress = follow(current, run.run_id, meanwhile=supervisor.tend)
            _explain(current, progress.run_id)
            say("")
            say(f"Flower: {flower_url(values, port)}")
            say("Look around: flowshift status · flowshift runs · flowshift show BOT")
            if not exits:
                say("Everything goes on running; Ctrl-C stops it.")
                wait(supervisor)
    return 0


def _programs(current: Runtime, port: int) -> list[Program]:
    state = state_dir(current.settings)
    return [
        worker_program(current.settings.worker_processes),
        beat_program(state / "celerybeat-schedule"),
        flower_program(current.settings, port, state),
    ]


def _fill(current: Runtime, count: int) -> int:
    """Add the sample fleet; never to a database that holds other bots."""
    with reading(current) as connection:
        foreign = connection.scalar(
            sa.select(bots.c.bot_id).where(~bots.c.bot_id.collate("C").startswith(PREFIX)).limit(1)
        )
        if foreign is not None:
            raise UsageError(
                f"the database holds bots that are no samples ({foreign!r} for one): "
                "the demo does not touch it"
            )
        return insert_sample(driver(connection), count)


def _explain(current: Runtime, run_id: int) -> None:
    out = console()
    with reading(current) as connection:
        progress = runs.progress(connection, run_id)
        assert progress is not None  # noqa: S101  (we have just followed it)
        codes = runs.codes(connection, run_id)
        failures = runs.failures(connection, run_id, limit=5)
        overhead = runs.overhead(connection, run_id)
        tables.print_summary(out, progress, codes, failures, overhead=overhead)
        out.line()
        out.print(Text("one bot, before and after", "bold"))
        print_bot(out, connection, f"{PREFIX}{7:08d}", current)
