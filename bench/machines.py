"""Worker machines in miniature: network namespaces of Linux, each with an address of its own.

They share the processors, so that no more work is done than without them; what is measured is that
workers on several machines do it by the network alone. Servers that listen on sockets in files, or on
loopback, are not reached by it: `socat` hands on to these. Needs root, `ip` (iproute2) and `socat`.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Final

import msgspec
import sqlalchemy as sa

NETWORK: Final = "10.213.77"
HOST: Final = f"{NETWORK}.1"
POSTGRES_PORT: Final = 15432
REDIS_PORT: Final = 16379
LOOPBACK: Final = ("127.0.0.1", "localhost", "::1")


class Machine(msgspec.Struct, frozen=True):
    """A machine; `prefix` is what a command begins with that runs there."""

    name: str
    prefix: tuple[str, ...]


def missing() -> str | None:
    """Why there can be none here; None if there can."""
    if os.geteuid() != 0:
        return "not root"
    lacking = [program for program in ("ip", "socat") if shutil.which(program) is None]
    if lacking:
        return f"{' and '.join(lacking)} not installed"
    try:
        _ip("netns", "add", _name(0))
    except subprocess.CalledProcessError as error:
        return f"ip netns add: {error.stderr.decode().strip()}"
    _ip("netns", "del", _name(0))
    return None


@contextmanager
def machines(count: int) -> Iterator[list[Machine]]:
    """So many machines, behind one bridge; they are gone afterwards."""
    bridge = f"fsb{os.getpid()}"
    with ExitStack() as stack:
        _ip("link", "add", bridge, "type", "bridge")
        stack.callback(_ip, "link", "del", bridge)
        _ip("addr", "add", f"{HOST}/24", "dev", bridge)
        _ip("link", "set", bridge, "up")
        yield [_machine(stack, bridge, number) for number in range(1, count + 1)]


def _machine(stack: ExitStack, bridge: str, number: int) -> Machine:
    name, outer, inner = _name(number), f"fso{number}-{os.getpid()}", f"fsi{number}-{os.getpid()}"
    _ip("netns", "add", name)
    stack.callback(_ip, "netns", "del", name)
    _ip("link", "add", outer, "type", "veth", "peer", "name", inner)
    _ip("link", "set", inner, "netns", name)
    _ip("link", "set", outer, "master", bridge, "up")
    for of_machine in (
        ("addr", "add", f"{NETWORK}.{10 + number}/24", "dev", inner),
        ("link", "set", inner, "up"),
        ("link", "set", "lo", "up"),
    ):
        _ip("-n", name, *of_machine)
    return Machine(name, ("ip", "netns", "exec", name))


@contextmanager
def by_network(database_url: str, redis_url: str) -> Iterator[tuple[str, str]]:
    """The URLs by which machines reach servers that listen on sockets in files, or on loopback.

    URLs of servers that listen on a network already are left as they are.
    """
    database, queue = sa.make_url(database_url), sa.make_url(redis_url)
    with ExitStack() as stack:
        if (serves := _place(database, 5432)) is not None:
            stack.enter_context(_relay(POSTGRES_PORT, serves))
            database = database.set(host=HOST, port=POSTGRES_PORT).difference_update_query(
                ["host", "port"]
            )
        if (serves := _place(queue, 6379)) is not None:
            stack.enter_context(_relay(REDIS_PORT, serves))
            number = queue.query.get("db") or (queue.database if queue.host else "0")
            queue = queue.set(
                drivername="redis", host=HOST, port=REDIS_PORT, database=f"{number}", query={}
            )
        yield (
            database.render_as_string(hide_password=False),
            queue.render_as_string(hide_password=False),
        )


def _place(url: sa.URL, port: int) -> str | None:
    """Where a server listens that a machine does not reach, in socat's words; None if it does."""
    if url.drivername == "unix":
        return f"UNIX-CONNECT:/{url.database}"
    directory = url.query.get("host")
    if isinstance(directory, str) and directory.startswith("/"):
        return f"UNIX-CONNECT:{directory}/.s.PGSQL.{url.query['port']}"
    return f"TCP:{url.host}:{url.port or port},nodelay" if url.host in LOOPBACK else None


@contextmanager
def _relay(port: int, serves: str) -> Iterator[None]:
    listen = f"TCP-LISTEN:{port},bind={HOST},fork,reuseaddr,nodelay"
    # A group of its own, so that it ends with the children that it has for each connection.
    with subprocess.Popen(["socat", "-b", "65536", listen, serves], process_group=0) as process:
        try:
            yield
        finally:
            os.killpg(process.pid, 15)


def _name(number: int) -> str:
    return f"flowshift-bench-{os.getpid()}-{number}"


def _ip(*arguments: str) -> None:
    command: Sequence[str] = ("ip", *arguments)
    subprocess.run(command, check=True, capture_output=True)
