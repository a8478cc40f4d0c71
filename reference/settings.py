"""The page of settings, from the class that reads them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from reference.page import page, table
from worker.settings import PREFIX, Settings


def settings_page() -> str:
    """Every setting, from the class that reads them."""
    schema = msgspec.json.schema(Settings)["$defs"]["Settings"]["properties"]
    rows = [
        (
            f"`{PREFIX}{name.upper()}`",
            _kind(described),
            _default(described["default"]),
            described["description"],
        )
        for name, described in schema.items()
    ]
    return page(
        "Settings",
        "worker/settings.py",
        "Settings are environment variables, read once when a process starts. An empty value counts "
        "as not set. A name that does not exist, or a value that does not fit, stops the process "
        "with exit code 3 and one line that names the variable; URLs and passwords are never "
        "repeated.",
        table(("variable", "value", "default", "meaning"), rows),
        f"Without `{PREFIX}DATA_DIR` the data directory is the user's data folder "
        "(`~/.local/share/flowshift` on Linux). "
        "[Run the processes](../how-to/processes.md#the-data-directory) says what is in it.",
    )


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
