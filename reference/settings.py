"""The page of settings, from the class that reads them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from reference.page import page, table
from worker.settings import GROUPS, PREFIX, USUAL, Group, Settings


def settings_page() -> str:
    """Every setting, from the class that reads them: the usual ones first, then the others by group."""
    rows = {name: _row(name, described) for name, described in _described().items()}
    return page(
        "Settings",
        "worker/settings.py",
        "Settings are environment variables, read once when a process starts. An empty value counts "
        "as not set. A name that does not exist, or a value that does not fit, stops the process "
        "with exit code 3 and one line that names the variable; URLs and passwords are never "
        "repeated.",
        "## The usual ones",
        "Most installations set none but these.",
        _settings(rows[name] for name in USUAL),
        f"Without `{PREFIX}DATA_DIR` the data directory is the user's data folder "
        "(`~/.local/share/flowshift` on Linux). "
        "[Run the processes](../how-to/processes.md#the-data-directory) says what is in it.",
        *(part for group in GROUPS for part in _section(group, rows)),
    )


def members(group: Group) -> tuple[str, ...]:
    """The names of a group's settings, in the order of the class."""
    names = [field.name for field in msgspec.structs.fields(Settings)]
    starts = [names.index(one.first) for one in GROUPS]
    at = GROUPS.index(group)
    end = starts[at + 1] if at + 1 < len(starts) else len(names)
    return tuple(names[starts[at] : end])


def _section(group: Group, rows: Mapping[str, Sequence[str]]) -> tuple[str, ...]:
    others = [rows[name] for name in members(group) if name not in USUAL]
    return f"## {group.title}", f"{group.about}.", _settings(others)


def _described() -> dict[str, Any]:
    described: dict[str, Any] = msgspec.json.schema(Settings)["$defs"]["Settings"]["properties"]
    return described


def _row(name: str, described: Mapping[str, Any]) -> tuple[str, ...]:
    return (
        f"`{PREFIX}{name.upper()}`",
        _kind(described),
        _default(described["default"]),
        described["description"],
    )


def _settings(rows: Iterable[Sequence[str]]) -> str:
    return table(("variable", "value", "default", "meaning"), rows)


def _kind(described: Mapping[str, Any]) -> str:
    """What a setting takes, from its JSON schema.

    >>> _kind({"type": "integer", "minimum": 1, "maximum": 10000})
    'whole number, 1 to 10,000'
    >>> _kind({"enum": ["auto", "json"]})
    '`auto`, `json`'
    """
    if "enum" in described:
        return ", ".join(f"`{value}`" for value in sorted(described["enum"]))
    if described["type"] in ("integer", "number"):
        kind = "whole number" if described["type"] == "integer" else "number"
        low, high = described["minimum"], described.get("maximum")
        upper = f"{low:,} or more" if high is None else f"{low:,} to {high:,}"
        return f"{kind}, {upper}"
    if "pattern" in described:
        return f"text like `{described['pattern']}`"
    return "text, not empty" if described.get("minLength") else "text"


def _default(value: object) -> str:
    return "(empty)" if value == "" else f"`{value}`"
