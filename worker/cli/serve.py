"""Commands that keep processes running: up, flower."""

from __future__ import annotations

import os
import signal
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import click

from worker import settings as settings_module
from worker.app import app
from worker.cli.session import configure_logging, opened, reading
from worker.core.policy.processes import working
from worker.db.heartbeats import processes as heartbeats_of
from worker.environment import for_children, ignore
from worker.errors import ConfigError
from worker.processes.supervisor import Program, Supervisor, beat_program, worker_program
from worker.processes.vitals import Vitals, max_age_s
from worker.progress.flower import row_id
from worker.queue.dispatch import CeleryQueue
from worker.runtime import Runtime
from worker.settings import Settings

TASKS_COLUMNS = "name,uuid,state,result,kwargs,received,started,runtime,worker"
_LOOPBACK = ("127.0.0.1", "localhost", "::1")
TEND_S = 0.5


@click.command()
@click.option("--processes", type=click.IntRange(1, 256), help="Child processes of the worker.")
@click.option("--beat/--no-beat", default=True, help="Run the beat.  [default: beat]")
@click.option("--flower/--no-flower", "with_flower", default=True, help="Run Flower.")
def up(*, processes: int | None, beat: bool, with_flower: bool) -> int:
    """Run a worker, the beat and Flower in the foreground until Ctrl-C.

    What dies is started again, and what lives without working (`flowshift health`). On Ctrl-C or
    SIGTERM the worker finishes its batches, or hands them back, within 20 seconds.
    """
    configure_logging(verbose=True)
    with opened() as current:
        values = current.settings
        state = state_dir(values)
        programs = [worker_program(processes or values.worker_processes)]
        if beat:
            programs.append(beat_program(state / "celerybeat-schedule"))
        if with_flower:
            port = own_port(values.flower_address, values.flower_port)
            programs.append(flower_program(values, port, state))
        look = Vitals(current, CeleryQueue(app).answers).look
        with Supervisor(programs, look=look, max_age_s=max_age_s(current)) as supervisor:
            wait(supervisor)
    return 0


@click.command()
def flower() -> None:
    """Run Flower alone, on FLOWSHIFT_FLOWER_ADDRESS and FLOWSHIFT_FLOWER_PORT.

    It refuses to listen beyond loopback without FLOWSHIFT_FLOWER_BASIC_AUTH, and cannot change
    anything (read only).
    """
    configure_logging(verbose=True)
    ignore()
    values = settings_module.load()
    port = own_port(values.flower_address, values.flower_port)
    program = flower_program(values, port, state_dir(values))
    os.execve(  # noqa: S606  (Flower takes our place, and our supervisor's signals)
        program.command[0], program.command, {**for_children(), **program.environment}
    )


def flower_program(values: Settings, port: int, state: Path) -> Program:
    """Flower, told everything by its environment: a password on a command line is in `ps`.

    Raises:
        ConfigError: it would listen beyond loopback without a password.
    """
    if values.flower_address not in _LOOPBACK and not values.flower_basic_auth:
        raise ConfigError(
            f"Flower would listen on {values.flower_address} without a password: "
            "set it to user:password, or FLOWSHIFT_FLOWER_ADDRESS to 127.0.0.1",
            setting="FLOWSHIFT_FLOWER_BASIC_AUTH",
        )
    environment = {
        "FLOWER_CONF": os.devnull,  # not the flowerconfig.py of the current directory
        "FLOWER_ADDRESS": values.flower_address,
        "FLOWER_PORT": str(port),
        "FLOWER_READ_ONLY": "True",
        "FLOWER_PERSISTENT": "True",
        "FLOWER_DB": str(state / "flower"),
        "FLOWER_STATE_SAVE_INTERVAL": "5000",
        "FLOWER_TASKS_COLUMNS": TASKS_COLUMNS,
        "FLOWER_NATURAL_TIME": "False",
    }
    if values.flower_basic_auth:
        environment["FLOWER_BASIC_AUTH"] = values.flower_basic_auth
    return Program("flower", (sys.executable, "-P", "-m", "worker.processes.flower"), environment)


def flower_url(values: Settings, port: int) -> str:
    """Where a browser finds Flower."""
    address = values.flower_address
    return f"http://{'127.0.0.1' if address == '0.0.0.0' else address}:{port}/tasks"  # noqa: S104


def flower_page(current: Runtime, run_id: int) -> str | None:
    """The address of a run's own page, where a Flower of this machine's works and its port is known."""
    values = current.settings
    if values.flower_port == 0:
        return None
    with reading(current) as connection:
        found = heartbeats_of(connection, host=socket.gethostname())
    if not any(one.kind == "flower" for one in working(found, max_age_s(current))):
        return None
    return flower_url(values, values.flower_port).removesuffix("/tasks") + f"/task/{row_id(run_id)}"


def own_port(address: str, wanted: int) -> int:
    """The port for Flower: `wanted`, or any free one where that is 0.

    Raises:
        ConfigError: another process listens there, or this machine has no such address.
    """
    with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address, wanted))
        except OSError as error:
            raise ConfigError(
                f"Flower cannot listen on {address}:{wanted} ({error.strerror}): set another port, "
                "or stop the process that listens there",
                setting="FLOWSHIFT_FLOWER_PORT",
            ) from error
        return int(probe.getsockname()[1])


def free_port(address: str, wanted: int) -> int:
    """`wanted` if no process listens there, else any free port."""
    try:
        return own_port(address, wanted)
    except ConfigError:
        return own_port(address, 0)


def state_dir(values: Settings) -> Path:
    """Where the beat and Flower keep their files."""
    path = values.data_path / "state"
    path.mkdir(parents=True, exist_ok=True)
    return path


class _Stopped(Exception):  # noqa: N818  (a signal, not an error)
    pass


@contextmanager
def stoppable() -> Iterator[None]:
    """Let SIGTERM and SIGHUP end the block as Ctrl-C does, so that everything is stopped."""

    def stop(_number: int, _frame: FrameType | None) -> None:
        raise _Stopped

    signals = (signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.signal(number, stop) for number in signals}
    try:
        yield
    except (_Stopped, KeyboardInterrupt):
        pass
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def wait(supervisor: Supervisor) -> None:
    """Tend the programs until a signal comes."""
    with stoppable():
        while True:
            supervisor.tend()
            time.sleep(TEND_S)
