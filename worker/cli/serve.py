"""The commands that keep processes running: up, flower, serve."""

from __future__ import annotations

import os
import socket

import click
import msgspec
from litestar.types import ASGIApp

from worker import __version__
from worker import settings as settings_module
from worker.app import app
from worker.cli.arguments import TEXT, Whole
from worker.cli.refusal import logged
from worker.cli.session import configure_logging, opened
from worker.cli.signals import stoppable, wait
from worker.core.policy.run_kinds import QUEUES, QueueName
from worker.log import get_logger
from worker.processes.flower_program import flower_program, own_port, state_dir
from worker.processes.heartbeat import Heartbeat
from worker.processes.ports import listen
from worker.processes.serve_program import PORT, WHO, own_address, serve_program, serve_url
from worker.processes.serve_program import own_port as serve_port
from worker.processes.supervisor import Supervisor, beat_program, with_environment, worker_program
from worker.processes.vitals import Vitals, max_age_s
from worker.queue.dispatch import CeleryQueue
from worker.queue.environment import for_children, ignore
from worker.queue.names import celery_name
from worker.runtime import Runtime
from worker.web.app import create_guarded
from worker.web.server import Work, make_server

log = get_logger(__name__)


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
@click.option(
    "--serve/--no-serve",
    "with_serve",
    default=None,
    show_default="--serve, but with --queue --no-serve",
    help="Answer people and programs over HTTP.",
)
@logged()
def up(
    *,
    processes: int | None,
    queue: QueueName | None,
    beat: bool,
    with_flower: bool,
    with_serve: bool | None,
) -> int:
    """Run a worker, the beat, Flower and `flowshift serve` in the foreground until Ctrl-C.

    A process that ends is started again, and so is one that lives without working (`flowshift
    health`). The worker does the batches that its database role may do: those of publications only as
    `flowshift_publisher` or as the tables' owner. On Ctrl-C or SIGTERM it finishes its batches, or
    hands them back, within 20 seconds.

    \b
    Examples:
      flowshift up
      flowshift up --processes 8 --no-flower --no-serve
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
            port = own_port(values)
            programs.append(flower_program(values, port, state))
        if queue is None if with_serve is None else with_serve:
            web_port = serve_port(values)
            programs.append(serve_program(values, web_port))
            programs = with_environment(programs, own_address(values, web_port))
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
    port = own_port(values)
    program = flower_program(values, port, state_dir(values))
    os.execve(  # noqa: S606  (Flower takes our place, and our supervisor's signals)
        program.command[0], program.command, {**for_children(), **program.environment}
    )


@click.command()
@click.option(
    "--host",
    type=TEXT,
    metavar="ADDRESS",
    show_default="FLOWSHIFT_WEB_ADDRESS, 127.0.0.1",
    help="Listen on this address.",
)
@click.option(
    "--port",
    type=Whole(0, 65_535),
    metavar="PORT",
    show_default="FLOWSHIFT_WEB_PORT, 5556",
    help="Listen on this port. 0 is any free one.",
)
@logged()
def serve(*, host: str | None, port: int | None) -> int:
    """Answer people and programs over HTTP, until Ctrl-C or SIGTERM.

    What is asked for is read from PostgreSQL; Redis need not be there. On a signal it takes no new
    request, and ends when those at work are answered, within 10 seconds. Beyond loopback it listens only
    where it is said who may come in: `flowshift credential`.

    \b
    Examples:
      flowshift serve
      flowshift serve --port 8000
    """
    configure_logging(verbose=True)
    with opened(needs_redis=False) as current, stoppable():
        values = current.settings
        address = values.web_address if host is None else host
        application = create_guarded(current, address)
        wanted = values.web_port if port is None else port
        with listen(address, wanted, who=WHO, setting=PORT) as bound:
            chosen = msgspec.structs.replace(values, web_address=address)
            url = serve_url(chosen, bound.getsockname()[1])
            _serve(current, application, bound, url)
    return 0


def _serve(current: Runtime, application: ASGIApp, bound: socket.socket, url: str) -> None:
    """Serve on a bound socket until a signal comes."""
    server = make_server(application)
    heartbeat = Heartbeat(current, "serve", f"serve@{socket.gethostname()}", Work(bound).sign)
    bound.listen()  # who reads that it is ready may ask at once
    log.info("serve.ready", url=url, version=__version__)
    heartbeat.start()
    server.run(sockets=[bound])
