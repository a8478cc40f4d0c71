"""The ports on which processes of ours listen."""

from __future__ import annotations

import socket
from typing import Final

from worker.errors import ConfigError

LOOPBACK: Final = ("127.0.0.1", "localhost", "::1")
_EVERYWHERE: Final = ("0.0.0.0", "::")  # noqa: S104


def own_port(address: str, wanted: int, *, who: str, setting: str) -> int:
    """The port for a process: `wanted`, or any free one where that is 0.

    `who` listens there, and `setting` is the variable that says where.

    Raises:
        ConfigError: another process listens there, or this machine has no such address.
    """
    with listen(address, wanted, who=who, setting=setting) as probe:
        return int(probe.getsockname()[1])


def listen(address: str, port: int, *, who: str, setting: str) -> socket.socket:
    """A socket that is bound to that address and port, not yet listening.

    Raises:
        ConfigError: as `own_port`.
    """
    bound = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # Connections inherit it: without it an answer in two pieces waits 40 ms for the client's ACK.
        bound.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        bound.bind((address, port))
    except OSError as error:
        bound.close()
        raise ConfigError(
            f"{who} cannot listen on {address}:{port} ({error.strerror}): set another port, "
            "or stop the process that listens there",
            setting=setting,
        ) from error
    return bound


def free_port(address: str, wanted: int, *, who: str, setting: str) -> int:
    """`wanted` if no process listens there, else any free port."""
    try:
        return own_port(address, wanted, who=who, setting=setting)
    except ConfigError:
        return own_port(address, 0, who=who, setting=setting)


def base_url(address: str, port: int) -> str:
    """Where a browser on this machine finds what listens there.

    >>> base_url("0.0.0.0", 5556), base_url("::1", 5556)
    ('http://127.0.0.1:5556', 'http://[::1]:5556')
    """
    host = "127.0.0.1" if address in _EVERYWHERE else address
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
