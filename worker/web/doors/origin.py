"""Where a request comes from: the host that it names, and the page that made a browser send it.

A page of another site can let a browser send requests to us with the credentials that it keeps. It
cannot forge the headers that say so.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Final
from urllib.parse import urlsplit

from worker.processes.ports import LOOPBACK

_HOST: Final = re.compile(
    r"(?:\[(?P<six>[0-9a-fA-F:.]+)\]|(?P<name>[A-Za-z0-9._-]+))(?::[0-9]{1,5})?"
)

SAFE: Final = frozenset({"GET", "HEAD", "OPTIONS"})
"""Methods that change nothing."""


def host_of(value: str) -> str:
    """The name in a Host header, without the port, in lower case; empty if it is none.

    >>> host_of("Flowshift.example:80"), host_of("[::1]:5556"), host_of("a@b"), host_of("a/b")
    ('flowshift.example', '::1', '', '')
    """
    found = _HOST.fullmatch(value)
    return "" if found is None else (found["six"] or found["name"]).lower()


def own_hosts(named: Iterable[str], address: str) -> frozenset[str]:
    """The names that are ours: those that are set, loopback, and the address that we listen on."""
    return frozenset({*named, *LOOPBACK, address.lower()}) - {"0.0.0.0", "::"}  # noqa: S104


def why_foreign(method: str, headers: Mapping[str, str], hosts: frozenset[str]) -> str | None:
    """Why a request is not one of ours to answer; None if it is.

    A browser says where a request that changes something comes from: it must be a page of ours.
    A program that sends neither Origin nor Sec-Fetch-Site is no browser.
    """
    host = headers.get("host", "")
    if host_of(host) not in hosts:
        return "the Host header names a host that is not this server's (FLOWSHIFT_WEB_HOSTS)"
    if method in SAFE:
        return None
    if headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
        return "a page of another site sent it (Sec-Fetch-Site)"
    origin = headers.get("origin")
    if origin is not None and urlsplit(origin).netloc.lower() != host.lower():
        return "a page of another site sent it (Origin)"
    return None
