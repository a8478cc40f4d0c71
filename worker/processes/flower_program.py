"""Flower as a process: its environment, its port, its addresses."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from tempfile import TemporaryFile
from typing import Final

from worker.errors import ConfigError
from worker.processes import ports
from worker.processes.supervisor import Program
from worker.progress.flower import row_id
from worker.servers.data_dir import usable
from worker.settings import Settings

TASKS_COLUMNS: Final = "name,uuid,state,result,kwargs,received,started,runtime,worker"
_PORT: Final = "FLOWSHIFT_FLOWER_PORT"


def flower_program(values: Settings, port: int, state: Path) -> Program:
    """Flower, configured by its environment: a password on a command line is in `ps`.

    Raises:
        ConfigError: it would listen beyond loopback without a password.
    """
    if values.flower_address not in ports.LOOPBACK and not values.flower_basic_auth:
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
    return f"{ports.base_url(values.flower_address, port)}/tasks"


def own_port(values: Settings) -> int:
    """The port for Flower: the one that is set, or any free one where that is 0.

    Raises:
        ConfigError: another process listens there, or this machine has no such address.
    """
    return ports.own_port(values.flower_address, values.flower_port, who="Flower", setting=_PORT)


def free_port(values: Settings) -> int:
    """The port that is set if no process listens there, else any free one."""
    return ports.free_port(values.flower_address, values.flower_port, who="Flower", setting=_PORT)


def tasks_page(values: Settings) -> str | None:
    """Where people find Flower's tasks, None if that is not known: it may listen on any free port."""
    return _page(values, "tasks")


def page_of_run(values: Settings, run_id: int) -> str | None:
    """Where people find a run's own page in Flower, None if that is not known."""
    return _page(values, f"task/{row_id(run_id)}")


def _page(values: Settings, path: str) -> str | None:
    if values.flower_url:
        return f"{values.flower_url.rstrip('/')}/{path}"
    if not values.flower_port:
        return None
    return f"{ports.base_url(values.flower_address, values.flower_port)}/{path}"


def state_dir(values: Settings) -> Path:
    """Where the beat and Flower keep their files.

    Raises:
        ConfigError: the data directory cannot be used, or not be written.
    """
    path = values.data_path / "state"
    with usable(values.data_path):
        path.mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=path):  # they would fail later, again and again
            pass
    return path
