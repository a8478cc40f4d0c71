"""Who sends a request: by a password, a token, or a proxy that is trusted."""

from __future__ import annotations

import base64
import binascii
import hashlib
import secrets
import socket
from collections import OrderedDict
from collections.abc import Mapping
from ipaddress import ip_address
from typing import Final, Literal

import msgspec

from worker.errors import ConfigError
from worker.processes.ports import LOOPBACK
from worker.settings import Settings, variable
from worker.settings.field import path
from worker.settings.web import Network, networks
from worker.web.doors.people import Person, Role, fits_name
from worker.web.doors.people_file import PeopleFile

REMEMBERED_S: Final = 300.0
"""So long a password that fitted is not computed again: that takes 50 ms of a processor."""

_MOST_REMEMBERED: Final = 1_000


class Proxy(msgspec.Struct, frozen=True):
    """A proxy in front: the header that it sets, from where it is believed, and what strangers may."""

    header: str
    peers: tuple[Network, ...]
    role: Role | Literal["none"]

    def is_peer(self, address: str) -> bool:
        """Whether a connection from there is the proxy's."""
        try:
            found = ip_address(address)
        except ValueError:
            return False
        mapped = getattr(found, "ipv4_mapped", None) or found
        return any(mapped in network for network in self.peers)


class Entry:
    """Who may come in. With neither users nor a proxy everybody may: only on loopback."""

    def __init__(self, people: PeopleFile | None, proxy: Proxy | None) -> None:
        self._file = people
        self._proxy = proxy
        self._key = secrets.token_bytes(16)
        self._remembered: OrderedDict[bytes, tuple[Person, float]] = OrderedDict()

    @property
    def is_open(self) -> bool:
        """Whether nobody is asked who they are."""
        return self._file is None and self._proxy is None

    def at_once(self, headers: Mapping[str, str], peer: str, now: float) -> Person | None:
        """Who sends it, as far as no password has to be computed."""
        if self.is_open:
            return Person(f"http@{socket.gethostname()}", "operator")
        if self._file is not None and self._file.refresh(now):
            self._remembered.clear()
        return self._by_proxy(headers, peer) or self._by_token(headers) or self._known(headers, now)

    def by_password(self, headers: Mapping[str, str], now: float) -> Person | None:
        """Who sends it, by name and password. Takes a moment: not for the event loop."""
        given = _basic(headers)
        if given is None or self._file is None:
            return None
        people = self._file.people
        person = people.with_password(*given)
        if person is not None and people is self._file.people:
            self._remembered[self._mark(headers)] = (person, now + REMEMBERED_S)
            if len(self._remembered) > _MOST_REMEMBERED:
                self._remembered.popitem(last=False)
        return person

    def has_password(self, headers: Mapping[str, str]) -> bool:
        """Whether there is a name and a password to try."""
        return self._file is not None and _basic(headers) is not None

    def _known(self, headers: Mapping[str, str], now: float) -> Person | None:
        person, until = self._remembered.get(self._mark(headers), (None, 0.0))
        return person if now < until else None

    def _mark(self, headers: Mapping[str, str]) -> bytes:
        given = headers.get("authorization", "").encode("latin-1", "replace")
        return hashlib.blake2b(given, key=self._key).digest()

    def _by_token(self, headers: Mapping[str, str]) -> Person | None:
        kind, _, token = headers.get("authorization", "").partition(" ")
        if kind.lower() != "bearer" or self._file is None:
            return None
        return self._file.people.with_token(token.strip())

    def _by_proxy(self, headers: Mapping[str, str], peer: str) -> Person | None:
        if self._proxy is None or not self._proxy.is_peer(peer):
            return None
        name = headers.get(self._proxy.header.lower(), "")
        if not fits_name(name):
            return None
        known = self._file.people.named(name) if self._file is not None else None
        if known is not None or self._proxy.role == "none":
            return known
        return Person(name, self._proxy.role)


def _basic(headers: Mapping[str, str]) -> tuple[str, str] | None:
    """The name and the password in a request."""
    kind, _, given = headers.get("authorization", "").partition(" ")
    if kind.lower() != "basic":
        return None
    try:
        name, colon, password = base64.b64decode(given, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return None
    return (name, password) if colon else None


def make_entry(values: Settings, address: str) -> Entry:
    """Who may come in, by the settings.

    Raises:
        ConfigError: it would listen beyond loopback without asking who comes; or the file of users
            cannot be read.
    """
    people = PeopleFile(path(values.web_users)) if values.web_users else None
    proxy = None
    if values.web_proxy_header:
        peers = networks(values.web_proxy_peers)
        proxy = Proxy(values.web_proxy_header, peers, values.web_proxy_role)
    entry = Entry(people, proxy)
    if entry.is_open and address not in LOOPBACK:
        raise ConfigError(
            f"flowshift serve would listen on {address}, where everybody could act: set it to a file "
            "of users (`flowshift credential` makes its lines), or FLOWSHIFT_WEB_ADDRESS to 127.0.0.1",
            setting=variable("web_users"),
        )
    return entry
