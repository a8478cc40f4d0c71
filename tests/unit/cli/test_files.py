"""Files that a person gives."""

from __future__ import annotations

from pathlib import Path

import click
import pytest

from worker.cli.files import TextFile, listed


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_a_line_ends_as_editors_of_any_system_end_it(tmp_path: Path, end: str) -> None:
    path = tmp_path / "bots.txt"
    path.write_bytes(f"one{end}two{end}".encode())

    with click.Context(click.Command("any")) as context:
        file = TextFile().convert(str(path), None, context)

    assert listed((), file, "bot ids") == ("one", "two")
