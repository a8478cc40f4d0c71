"""What the declaration of a setting is made of, besides its type and its bounds."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from msgspec import Meta

PREFIX: Final = "FLOWSHIFT_"


def variable(name: str) -> str:
    """The environment variable of a setting.

    >>> variable("batch_size")
    'FLOWSHIFT_BATCH_SIZE'
    """
    return PREFIX + name.upper()


def text(
    description: str,
    *,
    expected: str = "text",
    pattern: str | None = None,
    min_length: int | None = None,
    check: Callable[[str], object] | None = None,
    is_secret: bool = False,
) -> Meta:
    """A text whose type does not say all about it.

    `expected` completes "it must be …". `check` raises ValueError for a value that does not fit; if
    the error has a message, that is shown as the reason. A secret's value is never shown.
    """
    return Meta(
        description=description,
        pattern=pattern,
        min_length=min_length,
        extra={"expected": expected, "check": check, "is_secret": is_secret},
    )


def path(value: str) -> Path:
    """A path of the file system, absolute, with `~` expanded.

    Raises:
        ValueError: `~name` names no user.
    """
    try:
        return Path(value).expanduser().absolute()
    except RuntimeError as error:
        raise ValueError("there is no such user's home") from error


def base_address(value: str) -> None:
    """Raise ValueError if a value is neither empty nor the address of a site, without a password."""
    if not value:
        return
    parts = urlsplit(value)
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.port == 0:
        raise ValueError
    if parts.username or parts.query or parts.fragment or any(c.isspace() for c in value):
        raise ValueError
