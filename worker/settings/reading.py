"""Reading the settings from the environment."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping

import msgspec
from msgspec import inspect

from worker.errors import ConfigError
from worker.settings.field import PREFIX, variable
from worker.settings.injected import OTHER_NAMES, is_injected
from worker.settings.model import Settings, kinds
from worker.settings.refusal import refusal, unknown
from worker.settings.secret_files import read_secret, secret_of


def load(environ: Mapping[str, str] = os.environ) -> Settings:
    """Read the settings from `environ`; empty values count as not set.

    So does what Kubernetes injects for services whose names begin like ours. A secret may be in a file
    instead, which the variable with `_FILE` at its end names.

    Raises:
        ConfigError: a value does not fit, a `FLOWSHIFT_` name is unknown, or the file of a secret cannot
            be read; says which, what it holds (never for URLs and passwords) and what it must be. Of
            several, the first by name.
    """
    fields = kinds()
    types = {field.name: field.type for field in msgspec.structs.fields(Settings)}
    given: dict[str, str] = {}
    for name, value in _ours(environ):
        secret = secret_of(name)
        key = secret or name.removeprefix(PREFIX).lower()
        if key not in fields or not (secret or name == variable(key)):
            raise unknown(name, fields)
        if key in given:
            raise ConfigError(f"{variable(key)} is set too: remove one of them", setting=name)
        given[key] = read_secret(name, value) if secret else value
    values = {key: _read(key, value, fields[key], types[key]) for key, value in given.items()}
    return Settings(**values)  # type: ignore[arg-type]


def _ours(environ: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    for name, value in sorted(environ.items()):
        is_other = name in OTHER_NAMES or is_injected(name, value)
        if name.startswith(PREFIX) and value and not is_other:
            yield name, value


def _read(key: str, value: str, kind: inspect.Type, type_: object) -> object:
    if any("\ud800" <= character <= "\udfff" for character in value):
        raise refusal(key, kind, value, "it is not UTF-8")
    try:
        return msgspec.convert(value, type_, strict=False)
    except msgspec.ValidationError as error:
        raise refusal(key, kind, value) from error
