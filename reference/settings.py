"""The page of settings, from the classes that read them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from inspect import getdoc

import msgspec
from msgspec import inspect

from reference.page import page, table
from worker.settings import GROUPS, PREFIX, USUAL, Settings, variable
from worker.settings.expected import expected
from worker.settings.secret_files import file_variable, secrets


def settings_page() -> str:
    """Every setting, from the class that reads them: the usual ones first, then the others by group."""
    rows = {field.name: _row(field) for field in _fields()}
    return page(
        "Settings",
        "worker/settings/",
        "Settings are environment variables, read once when a process starts. An empty value counts "
        "as not set. A name that does not exist, or a value that does not fit, stops the process "
        "with exit code 3 and one line that names the variable; URLs and passwords are never "
        "repeated.",
        "## The usual ones",
        "Most installations set none but these.",
        _settings(rows[name] for name in USUAL),
        f"A secret may be in a file instead, as containers get them: {_files()} name the file that "
        "holds it and nothing else.",
        f"Without `{PREFIX}DATA_DIR` the data directory is the user's data folder "
        "(`~/.local/share/flowshift` on Linux). "
        "[Run the processes](../how-to/processes.md#the-data-directory) says what is in it.",
        *(part for group in GROUPS for part in _section(group, rows)),
    )


def _files() -> str:
    """The variables that name files of secrets, in words."""
    *first, last = (f"`{file_variable(key)}`" for key in secrets())
    return f"{', '.join(first)} and {last}"


def members(group: type[msgspec.Struct]) -> tuple[str, ...]:
    """The names of a group's settings, in the order of the class."""
    return tuple(group.__annotations__)


def _section(
    group: type[msgspec.Struct], rows: Mapping[str, Sequence[str]]
) -> tuple[str, str, str]:
    others = [rows[name] for name in members(group) if name not in USUAL]
    return f"## {group.__name__}", getdoc(group) or "", _settings(others)


def _fields() -> Iterable[inspect.Field]:
    described = inspect.type_info(Settings)
    assert isinstance(described, inspect.StructType)  # noqa: S101  (for the type checker)
    return described.fields


def _row(field: inspect.Field) -> tuple[str, ...]:
    kind = field.type
    schema = kind.extra_json_schema if isinstance(kind, inspect.Metadata) else None
    return (
        f"`{variable(field.name)}`",
        expected(kind),
        "(empty)" if field.default == "" else f"`{field.default}`",
        (schema or {})["description"],
    )


def _settings(rows: Iterable[Sequence[str]]) -> str:
    return table(("variable", "value", "default", "meaning"), rows)
