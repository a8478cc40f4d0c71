"""Who may come in, and from where."""

from __future__ import annotations

from worker.errors import ConfigError
from worker.processes.ports import LOOPBACK


def refuse_open_doors(address: str) -> None:
    """Refuse to listen beyond loopback, where everybody could act.

    Raises:
        ConfigError: the address is not a loopback one.
    """
    if address not in LOOPBACK:
        raise ConfigError(
            f"flowshift serve would listen on {address}, where everybody could act: set it to 127.0.0.1",
            setting="FLOWSHIFT_WEB_ADDRESS",
        )
