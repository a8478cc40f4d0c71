"""Who may come in: the file of users and tokens, and holding a secret against it.

A line is `NAME ROLE SECRET`, as `flowshift credential` prints it. Passwords are kept as scrypt makes
them; tokens are long and random, so that their SHA-256 tells nothing. `proxy` instead of a secret gives
a role to a user whom only the proxy in front lets in.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import secrets
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, Literal, get_args

import msgspec

from worker.core.storable import unstorable
from worker.errors import ConfigError
from worker.settings import variable

Role = Literal["viewer", "operator"]
ROLES: Final[tuple[Role, ...]] = get_args(Role)

SETTING: Final = variable("web_users")

_N: Final = 2**14
_R: Final = 8
_P: Final = 1
_MAX_MEMORY: Final = 64 << 20
_LONGEST: Final = 100
TOKEN: Final = "fs_"  # noqa: S105  (what every token begins with, so that it is known as one)


class Person(msgspec.Struct, frozen=True):
    """Who asks: the name that the audit trail has, and what they may do."""

    name: str
    role: Role

    @property
    def may_act(self) -> bool:
        """Whether they may change something."""
        return self.role == "operator"


class Known(msgspec.Struct, frozen=True):
    """One line of the file: a person with a password, a token, or what a proxy says."""

    person: Person
    secret: str


class People(msgspec.Struct, frozen=True):
    """Everybody in the file: by name, and by the hash of their token."""

    by_name: Mapping[str, Known] = {}
    by_token: Mapping[str, Person] = {}

    def with_password(self, name: str, password: str) -> Person | None:
        """The person of that name, if that is the password. Takes as long where there is none."""
        known = self.by_name.get(name)
        kept = known.secret if known and known.secret.startswith("scrypt:") else _NOBODY
        fits = _is_password(password, kept)
        return known.person if known is not None and fits else None

    def with_token(self, token: str) -> Person | None:
        """The person whose token it is."""
        return self.by_token.get(hash_token(token))

    def named(self, name: str) -> Person | None:
        """The person of that name, whom a proxy has let in."""
        known = self.by_name.get(name)
        return None if known is None else known.person


def read_people(path: Path) -> People:
    """Read the file of users.

    Raises:
        ConfigError: it cannot be read, or a line does not fit; says which, never what it holds.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8"
        raise ConfigError(f"cannot read {path}: {reason}", setting=SETTING) from error
    known = [
        _read_line(path, number, line.split())
        for number, line in enumerate(lines, 1)
        if line.strip() and not line.lstrip().startswith("#")
    ]
    if not known:
        raise ConfigError(
            f"{path} names nobody: add a line with `flowshift credential`", setting=SETTING
        )
    return _people(path, known)


def _people(path: Path, known: Sequence[Known]) -> People:
    by_name: dict[str, Known] = {}
    by_token: dict[str, Person] = {}
    for one in known:
        name = one.person.name
        if one.secret.startswith("sha256:"):
            by_token[one.secret] = one.person
        elif name in by_name:
            raise ConfigError(f"{path} has two lines for {name!r}: remove one", setting=SETTING)
        else:
            by_name[name] = one
    return People(by_name, by_token)


def _read_line(path: Path, number: int, words: list[str]) -> Known:
    if len(words) == 3 and words[1] in ROLES and _is_secret(words[2]) and fits_name(words[0]):
        return Known(Person(words[0], msgspec.convert(words[1], Role)), words[2])
    raise ConfigError(
        f"line {number} of {path} is not `NAME viewer|operator SECRET`: make it with `flowshift "
        "credential`",
        setting=SETTING,
    )


def fits_name(name: str) -> bool:
    """Whether a name can be a user's: printable, without blanks or a colon, storable, not too long."""
    is_plain = name.isprintable() and not any(sign in name for sign in ": \t")
    return is_plain and 0 < len(name) <= _LONGEST and not unstorable(name)


def _is_secret(text: str) -> bool:
    if text == "proxy":
        return True
    kind, _, rest = text.partition(":")
    if kind == "sha256":
        return len(rest) == 64 and all(sign in "0123456789abcdef" for sign in rest)
    return kind == "scrypt" and _parts(text) is not None


def _parts(text: str) -> tuple[int, int, int, bytes, bytes] | None:
    """The numbers, the salt and the hash of a password's line; None if it is none, or costs too much."""
    try:
        _, n, r, p, salt, kept = text.split(":")
        read = int(n), int(r), int(p), _decoded(salt), _decoded(kept)
    except (ValueError, binascii.Error):
        return None
    return read if _fits_scrypt(*read[:3]) else None


def _fits_scrypt(n: int, r: int, p: int) -> bool:
    """Whether scrypt takes these numbers, within the memory and the time of one request.

    >>> _fits_scrypt(16384, 8, 1), _fits_scrypt(16384, 0, 1), _fits_scrypt(2**17, 1, 1)
    (True, False, False)
    """
    is_power = n > 1 and n & (n - 1) == 0
    is_cheap = 128 * n * r <= _MAX_MEMORY // 2 and 1 <= p <= 16
    return is_power and is_cheap and n < 2 ** (16 * r)


def _decoded(text: str) -> bytes:
    return base64.b64decode(text, validate=True)


def hash_password(password: str, salt: bytes | None = None) -> str:
    """What the file keeps of a password: `scrypt:N:r:p:salt:hash`.

    >>> hash_password("tea", b"0123456789abcdef")[:42]
    'scrypt:16384:8:1:MDEyMzQ1Njc4OWFiY2RlZg==:'
    """
    salt = secrets.token_bytes(16) if salt is None else salt
    kept = _scrypt(password, _N, _R, _P, salt)
    shown = (base64.b64encode(one).decode() for one in (salt, kept))
    return ":".join(("scrypt", str(_N), str(_R), str(_P), *shown))


def _scrypt(password: str, n: int, r: int, p: int, salt: bytes) -> bytes:
    given = password.encode("utf-8", "surrogatepass")
    return hashlib.scrypt(given, salt=salt, n=n, r=r, p=p, maxmem=_MAX_MEMORY, dklen=32)


def _is_password(password: str, kept: str) -> bool:
    parts = _parts(kept)
    if parts is None:
        return False
    n, r, p, salt, wanted = parts
    return hmac.compare_digest(_scrypt(password, n, r, p, salt), wanted)


_NOBODY: Final = f"scrypt:{_N}:{_R}:{_P}:AAAAAAAAAAAAAAAAAAAAAA==:AAAA"
"""No password fits this; it takes as long as any other."""


def new_token() -> str:
    """A token for programs, with 256 random bits."""
    return TOKEN + secrets.token_urlsafe(32)


def hash_token(token: str) -> str:
    """What the file keeps of a token."""
    return f"sha256:{hashlib.sha256(token.encode('utf-8', 'surrogatepass')).hexdigest()}"
