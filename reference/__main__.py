"""`python -m reference docs/reference` writes the generated pages of docs/.

With `--check` nothing is written: the exit code is 1 where a page is not what it should be.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from reference.codes import codes_page
from reference.commands import commands_page
from reference.events import events_page
from reference.metrics import metrics_page
from reference.openapi import openapi_document
from reference.settings import settings_page
from reference.states import states_page


def pages() -> dict[str, str]:
    """Every generated page by its file name."""
    return {
        "settings.md": settings_page(),
        "states.md": states_page(),
        "codes.md": codes_page(),
        "events.md": events_page(),
        "commands.md": commands_page(),
        "metrics.md": metrics_page(),
        "openapi.json": openapi_document(),
    }


def outdated(directory: Path) -> list[str]:
    """The names of the pages in `directory` that are missing or not what they should be."""
    return [
        name
        for name, text in pages().items()
        if not (directory / name).exists() or (directory / name).read_text(encoding="utf-8") != text
    ]


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the pages, or compare them; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m reference", description=__doc__)
    parser.add_argument("directory", type=Path)
    parser.add_argument("--check", action="store_true", help="Compare, and write nothing.")
    given = parser.parse_args(arguments)
    if not given.check:
        given.directory.mkdir(parents=True, exist_ok=True)
        for name, text in pages().items():
            (given.directory / name).write_text(text, encoding="utf-8")
        return 0
    stale = outdated(given.directory)
    for name in stale:
        sys.stderr.write(f"{given.directory / name} is out of date: run `make docs`\n")
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main())
