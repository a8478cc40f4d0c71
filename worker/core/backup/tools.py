"""Which of the installed client tools of PostgreSQL fit a server: of its version, or newer."""

from __future__ import annotations

import re
from collections.abc import Iterable

import msgspec

_VERSION = re.compile(r"\(PostgreSQL\) (\d+)")


class Tools(msgspec.Struct, frozen=True):
    """A directory that holds both pg_dump and pg_restore, of this major version."""

    directory: str
    major: int


def major_of(said: str) -> int | None:
    """The major version in what `pg_dump --version` prints; None if it is something else.

    >>> major_of("pg_dump (PostgreSQL) 15.20 (Debian 15.20-0+deb12u1)"), major_of("pg_dump: hello")
    (15, None)
    """
    found = _VERSION.search(said)
    return int(found[1]) if found else None


def fitting(found: Iterable[Tools], at_least: int) -> Tools | None:
    """The oldest tools that are not older than `at_least`, a major version; the first of equal ones.

    >>> installed = [Tools("/usr/bin", 15), Tools("/18", 18), Tools("/17", 17)]
    >>> fitting(installed, 16), fitting(installed, 19)
    (Tools(directory='/17', major=17), None)
    """
    return min((one for one in found if one.major >= at_least), key=lambda o: o.major, default=None)
