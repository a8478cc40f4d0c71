"""Settings: the process that answers people and programs over HTTP, `flowshift serve`."""

from __future__ import annotations

import re
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Annotated, Final, Literal

from msgspec import Meta

from worker.settings.field import path, text
from worker.settings.gate import Gate

_HOST: Final = re.compile(r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?", re.IGNORECASE)

Network = IPv4Network | IPv6Network


def host_names(value: str) -> tuple[str, ...]:
    """The host names in a list that commas separate, in lower case; none if the value is empty.

    Raises:
        ValueError: one is no host name; a port is no part of it.

    >>> host_names("Flowshift.example.com, b")
    ('flowshift.example.com', 'b')
    """
    listed = tuple(name.strip().lower() for name in value.split(",")) if value else ()
    for name in listed:
        if not _HOST.fullmatch(name):
            raise ValueError(f"{name!r} is no host name")
    return listed


def networks(value: str) -> tuple[Network, ...]:
    """The addresses and networks in a list that commas separate; none if the value is empty.

    Raises:
        ValueError: one is neither.

    >>> [str(one) for one in networks("10.0.3.7, 10.1.0.0/16")]
    ['10.0.3.7/32', '10.1.0.0/16']
    """
    return tuple(ip_network(one.strip()) for one in value.split(",")) if value else ()


class Web(Gate, frozen=True, kw_only=True):
    """The process that answers people and programs over HTTP, `flowshift serve`."""

    web_address: Annotated[
        str,
        text("Where `flowshift serve` listens.", expected="an address or a host name"),
    ] = "127.0.0.1"
    web_port: Annotated[
        int, Meta(ge=0, le=65_535, description="The port of `flowshift serve`. 0: any free one.")
    ] = 5556
    web_statement_timeout_ms: Annotated[
        int,
        Meta(
            ge=100,
            le=60_000,
            description="Milliseconds that one statement of a page, or of a request that only reads, "
            "may take in the database.",
        ),
    ] = 5_000
    web_hosts: Annotated[
        str,
        text(
            "The names under which browsers and programs reach `flowshift serve`, with commas between, "
            "such as `flowshift.example.com`. Loopback, and the address that it listens on, need not be "
            "named. A request for another name is refused.",
            expected="host names, with commas between",
            check=host_names,
        ),
    ] = ""
    web_users: Annotated[
        str,
        text(
            "A file that says who may come in, a line each as `flowshift credential` prints it. Empty: on "
            "loopback everybody may, and beyond it nobody is let in without the two settings below.",
            expected="a file",
            check=path,
        ),
    ] = ""
    web_proxy_header: Annotated[
        str,
        text(
            "The header in which a proxy in front names the user that it let in, such as "
            "`X-Forwarded-User`. Empty: none is believed.",
            expected="the name of a header",
            pattern=r"^([A-Za-z][A-Za-z0-9-]{0,60})?\Z",
        ),
    ] = ""
    web_proxy_peers: Annotated[
        str,
        text(
            "The addresses or networks from which that header is believed, with commas between, such as "
            "`10.0.3.7,10.1.0.0/16`.",
            expected="addresses or networks, with commas between",
            check=networks,
        ),
    ] = ""
    web_proxy_role: Annotated[
        Literal["none", "viewer", "operator"],
        Meta(
            description="What a user may do whom the proxy names and FLOWSHIFT_WEB_USERS does not: "
            "nothing, look, or act."
        ),
    ] = "viewer"
    web_secret: Annotated[
        str,
        text(
            "A secret that all `flowshift serve` of one system share, so that a form that one of them made "
            "is taken by the others, and after a restart: `openssl rand -hex 32`. Empty: each process "
            "takes its own forms alone, until it ends.",
            expected="at least 32 characters",
            pattern=r"^(.{32,})?\Z",
            is_secret=True,
        ),
    ] = ""
    web_rate: Annotated[
        int,
        Meta(
            ge=0,
            le=100_000,
            description="Requests a second that one address may make; four times as many at once. "
            "0: no limit.",
        ),
    ] = 50
