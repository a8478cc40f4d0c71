"""`flowshift serve` as a process that is supervised: its command, its port, its address."""

from __future__ import annotations

import sys
from typing import Final

from worker.processes import ports
from worker.processes.supervisor import Program
from worker.settings import Settings

PORT: Final = "FLOWSHIFT_WEB_PORT"
URL: Final = "FLOWSHIFT_WEB_URL"
WHO: Final = "flowshift serve"


def serve_program(values: Settings, port: int) -> Program:
    """The server of pages and HTTP; its settings are in its environment."""
    environment = {"FLOWSHIFT_WEB_ADDRESS": values.web_address, PORT: str(port)}
    return Program("serve", (sys.executable, "-P", "-m", "worker", "serve"), environment)


def serve_url(values: Settings, port: int) -> str:
    """Where a browser finds it."""
    return f"{ports.base_url(values.web_address, port)}/"


def own_address(values: Settings, port: int) -> dict[str, str]:
    """What the other processes have in their environment, so that they can name the pages.

    The address is the setting's; where that is empty, the one of `port`, if only this machine reaches it.
    """
    is_known = values.web_url or values.web_address not in ports.LOOPBACK
    return {} if is_known else {URL: serve_url(values, port)}


def own_port(values: Settings) -> int:
    """The port that is set, or any free one where that is 0.

    Raises:
        ConfigError: another process listens there, or this machine has no such address.
    """
    return ports.own_port(values.web_address, values.web_port, who=WHO, setting=PORT)


def free_port(values: Settings) -> int:
    """The port that is set if no process listens there, else any free one."""
    return ports.free_port(values.web_address, values.web_port, who=WHO, setting=PORT)
