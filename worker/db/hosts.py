"""The hosts of a PostgreSQL URL: several, as libpq takes them (`postgresql://a:5432,b:5432/db`)."""

from __future__ import annotations

import re
from urllib.parse import unquote

import sqlalchemy as sa

_SEVERAL = re.compile(
    r"(?P<head>[\w+]+://(?:[^@]*@)?)(?P<hosts>[^/?@]*,[^/?@]*)(?P<tail>(?:[/?].*)?)", re.DOTALL
)
_HOST = re.compile(r"(?:\[(?P<ipv6>[^\]]+)\]|(?P<name>[^:\[\]]*))(?::(?P<port>\d*))?")


def make_url(raw: str) -> sa.URL:
    """Read a URL that may name several hosts; these go to its query, as SQLAlchemy takes them.

    Raises:
        ValueError, ArgumentError: it is no URL.

    >>> url = make_url("postgresql://me@a:5433,[::1]/platform?target_session_attrs=read-write")
    >>> hosts_of(url), url.query["target_session_attrs"]
    ([('a', '5433'), ('::1', '')], 'read-write')
    """
    several = _SEVERAL.fullmatch(raw)
    if several is None:
        return sa.make_url(raw)
    pairs = [_host(text) for text in several["hosts"].split(",")]
    url = sa.make_url(several["head"] + several["tail"])
    return url.update_query_dict(
        {"host": ",".join(host for host, _ in pairs), "port": ",".join(port for _, port in pairs)}
    )


def hosts_of(url: sa.URL) -> list[tuple[str, str]]:
    """The hosts of a URL with their ports, in the order in which they are tried; "" is the default.

    >>> hosts_of(sa.make_url("postgresql://db.example:6432/platform"))
    [('db.example', '6432')]
    >>> hosts_of(sa.make_url("postgresql:///platform?host=a:5433&host=b"))
    [('a', '5433'), ('b', '')]
    """
    given = url.query.get("host") or url.host or ""
    names = given.split(",") if isinstance(given, str) else list(given)
    port = url.query.get("port") or str(url.port or "")
    ports = port.split(",") if isinstance(port, str) else list(port)
    if len(ports) == 1:
        ports *= len(names)
    if not isinstance(given, str):  # each with its own
        parted = [name.partition(":") for name in names]
        names, ports = [name for name, _, _ in parted], [own for _, _, own in parted]
    return list(zip(names, ports, strict=False))


def _host(text: str) -> tuple[str, str]:
    """One host of several, as (name, port): names, addresses, and directories of sockets."""
    found = _HOST.fullmatch(text)
    if found is None:
        raise ValueError(text)
    return unquote(found["ipv6"] or found["name"] or ""), found["port"] or ""


def place(url: sa.URL) -> str:
    """Where a URL leads, for people, without its password.

    >>> place(make_url("postgresql://me:secret@db.example/platform"))
    "database 'platform' at db.example:5432 as user 'me'"
    >>> place(make_url("postgresql://me:secret@a,b:5433/platform?target_session_attrs=primary"))
    "database 'platform' at a:5432, b:5433 as user 'me'"
    >>> place(make_url("postgresql:///platform?host=/run/postgresql"))
    "database 'platform' at /run/postgresql"
    """
    shown = [_shown(host, port) for host, port in hosts_of(url)]
    database = repr(url.database) if url.database else "(the default one)"
    user = f" as user {url.username!r}" if url.username else ""
    return f"database {database} at {', '.join(shown)}{user}"


def _shown(host: str, port: str) -> str:
    if not host:
        return "the local socket"
    if host.startswith("/"):
        return host
    return f"{f'[{host}]' if ':' in host else host}:{port or 5432}"
