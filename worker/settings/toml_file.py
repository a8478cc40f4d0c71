"""A TOML file that a setting names, with tables of one kind: read, and refused without repeating a value.

    [[channel]]
    name = "ops"
    …

What is refused may be a secret in the wrong place, so that only keys, numbers and words of ours are said.
"""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import msgspec
from msgspec import inspect

from worker.core.encoding import NotTextError, decode
from worker.errors import ConfigError
from worker.settings.expected import expected

Row = TypeVar("Row", bound=msgspec.Struct)


def read_tables(path: Path, table: str, kind: type[Row], *, setting: str) -> tuple[Row, ...]:
    """The tables `[[table]]` of a file, in their order; at least one.

    Each field of `kind` needs words for what it must be, by its type or `expected` in its Meta.

    Raises:
        ConfigError: it cannot be read or is wrong; says where and what should be there.
    """
    found = _parse(path, setting)
    for key in found:
        if key != table:
            raise refused(path, f"there is no key {key!r}{_hint(key, [table])}", setting)
    rows = found.get(table)
    if not isinstance(rows, list) or not rows:
        raise refused(path, f"it names no {table}: begin each with [[{table}]]", setting)
    return tuple(
        _row(path, table, kind, number, row, setting) for number, row in enumerate(rows, start=1)
    )


def refused(path: Path, why: str, setting: str) -> ConfigError:
    """The error for a file that is wrong."""
    return ConfigError(f"{path}: {why}", setting=setting)


def did_you_mean(name: str, known: Sequence[str]) -> str:
    """The hint at the end of a sentence that refuses a name; empty if none is near.

    >>> did_you_mean("bot.faled", ["bots.failed", "http.request.duration"])
    '; did you mean bots.failed?'
    """
    return _hint(name, known)


def _parse(path: Path, setting: str) -> Mapping[str, Any]:
    try:
        return tomllib.loads(decode(path.read_bytes()))
    except OSError as error:
        why = error.strerror or type(error).__name__
        raise refused(path, f"cannot be read: {why}", setting) from error
    except NotTextError as error:
        raise refused(path, str(error), setting) from None
    except tomllib.TOMLDecodeError as error:
        # Not chained: it holds the file's text.
        raise refused(path, f"is no TOML: {error}", setting) from None


def _row(path: Path, table: str, kind: type[Row], number: int, row: object, setting: str) -> Row:
    if not isinstance(row, dict):
        raise refused(path, f"{table} {number} must be a table: begin it with [[{table}]]", setting)
    types = {field.name: field.type for field in msgspec.structs.fields(kind)}
    for key in row:
        if key not in types:
            hint = _hint(key, list(types))
            raise refused(path, f"there is no key {key!r} of {table} {number}{hint}", setting)
    described = inspect.type_info(kind)
    assert isinstance(described, inspect.StructType)  # noqa: S101  (for the type checker)
    for field in described.fields:
        words = expected(field.type)
        if field.name not in row:
            if field.required:
                raise refused(path, f"{table} {number} needs {field.name}: {words}", setting)
            continue
        try:
            msgspec.convert(row[field.name], types[field.name])
        except msgspec.ValidationError:
            why = f"{field.name} of {table} {number} must be {words}"
            raise refused(path, why, setting) from None
    return msgspec.convert(row, kind)


def _hint(name: str, known: Sequence[str]) -> str:
    close = difflib.get_close_matches(name, known, n=1)
    return f"; did you mean {close[0]}?" if close else ""
