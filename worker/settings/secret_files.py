"""Secrets in files, as containers get them: `FLOWSHIFT_REDIS_URL_FILE` names that of the Redis URL."""

from __future__ import annotations

from typing import Final

from worker.errors import ConfigError
from worker.settings.expected import extra
from worker.settings.field import path, variable
from worker.settings.model import kinds

SUFFIX: Final = "_FILE"

MAX_BYTES: Final = 16 << 10
"""No secret is longer; a longer file is another one by mistake."""


def secret_of(name: str) -> str | None:
    """The setting whose file a variable of this name is for; None if it is for none.

    >>> secret_of("FLOWSHIFT_REDIS_URL_FILE"), secret_of("FLOWSHIFT_BATCH_SIZE_FILE")
    ('redis_url', None)
    """
    return {file_variable(key): key for key in secrets()}.get(name)


def secrets() -> tuple[str, ...]:
    """The settings that are secrets, in the order of their groups."""
    return tuple(key for key, kind in kinds().items() if extra(kind).get("is_secret"))


def file_variable(key: str) -> str:
    """The variable that names the file of a secret."""
    return variable(key) + SUFFIX


def read_secret(name: str, value: str) -> str:
    """The secret in the file `value` that the variable `name` names; the line's end is not part of it.

    Raises:
        ConfigError: the file cannot be read, is empty, too long or not text; what it holds is not said.
    """
    try:
        found = _first_bytes(value).decode()
    except UnicodeDecodeError as error:
        raise ConfigError("the file that it names is not UTF-8", setting=name) from error
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise ConfigError(f"cannot read the file that it names: {reason}", setting=name) from error
    secret = found.rstrip("\r\n")
    if not secret or "\0" in secret or len(found) > MAX_BYTES:
        raise ConfigError(
            f"the file that it names must hold the secret alone, of 1 to {MAX_BYTES:,} bytes",
            setting=name,
        )
    return secret


def _first_bytes(value: str) -> bytes:
    where = path(value)
    if where.exists() and not where.is_file():  # a pipe would be waited for without an end
        raise ValueError("it is no file")
    with where.open("rb") as file:
        return file.read(MAX_BYTES + 1)
