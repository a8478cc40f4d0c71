"""What every generated page has, and tables in Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

NOTE: Final = "<!-- Written by `make docs`. Change the source it names, not this page. -->"


def page(title: str, source: str, *parts: str) -> str:
    """A page with its title, the source that it is written from, and its parts."""
    return "\n\n".join([f"# {title}", f"{NOTE}\n<!-- Source: {source} -->", *parts]) + "\n"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table in Markdown.

    >>> print(table(("a", "b"), [("1", "x|y")]))
    | a | b |
    | --- | --- |
    | 1 | x\\|y |
    """
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(
        f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines
    )
