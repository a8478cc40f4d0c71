"""The commands that keep processes running: up, flower."""

from __future__ import annotations

import os

import click

from worker import settings as settings_module
from worker.app import app
from worker.cli.arguments import Whole
from worker.cli.refusal import logged
from worker.cli.session import configure_logging, opened
from worker.cli.signals import wait
from worker.core.policy.run_kinds import QUEUES, QueueName
from worker.processes.flower_program import flower_program, own_port, state_dir
from worker.processes.supervisor import Supervisor, beat_program, worker_program
from worker.processes.vitals import Vitals, max_age_s
from worker.queue.dispatch import CeleryQueue
from worker.queue.environment import for_children, ignore
from worker.queue.names import celery_name


@click.command()
@click.option(
    "--processes",
    type=Whole(1, 256),
    metavar="N",
    show_default="FLOWSHIFT_WORKER_PROCESSES",
    help="The worker has N child processes.",
)
@click.option(
    "--queue",
    type=click.Choice(QUEUES),
    show_default="what its role may do",
    help="The worker takes only these batches.",
)
@click.option("--beat/--no-beat", default=True, help="Run the beat.")
@click.option("--flower/--no-flower", "with_flower", default=True, help="Run Flower.")
@logged()
def up(*, processes: int | None, queue: QueueName | None, beat: bool, with_flower: bool) -> int:
    """Run a worker, the beat and Flower in the foreground until Ctrl-C.

    A process that ends is started again, and so is one that lives without working (`flowshift
    health`). The worker does the batches that its database role may do: those of publications only as
    `flowshift_publisher` or as the tables' owner. On Ctrl-C or SIGTERM it finishes its batches, or
    hands them back, within 20 seconds.

    \b
    Examples:
      flowshift up
      flowshift up --processes 8 --no-flower
      flowshift up --queue publish --no-beat --no-flower
    """
    configure_logging(verbose=True)
    with opened() as current:
        values = current.settings
        state = state_dir(values)
        taken = celery_name(values.namespace, queue) if queue else None
        programs = [worker_program(processes or values.worker_processes, queue=taken)]
        if beat:
            programs.append(beat_program(state / "celerybeat-schedule"))
        if with_flower:
            port = own_port(values.flower_address, values.flower_port)
            programs.append(flower_program(values, port, state))
        look = Vitals(current, CeleryQueue(app).answers).look
        with Supervisor(
            programs, shutdown_s=values.shutdown_s, look=look, max_age_s=max_age_s(current)
        ) as supervisor:
            wait(supervisor)
    return 0


@click.command()
@logged()
def flower() -> None:
    """Run Flower alone, on FLOWSHIFT_FLOWER_ADDRESS and FLOWSHIFT_FLOWER_PORT.

    Flower is read only. It refuses to listen beyond loopback without FLOWSHIFT_FLOWER_BASIC_AUTH.

    \b
    Examples:
      flowshift flower
    """
    configure_logging(verbose=True)
    ignore()
    values = settings_module.load()
    port = own_port(values.flower_address, values.flower_port)
    program = flower_program(values, port, state_dir(values))
    os.execve(  # noqa: S606  (Flower takes our place, and our supervisor's signals)
        program.command[0], program.command, {**for_children(), **program.environment}
    )
