"""Counts, and some of many, as a person reads them."""

from __future__ import annotations

from collections.abc import Sequence


def counted(count: int, one: str, many: str | None = None) -> str:
    """A number with its noun; `many` is the noun for any other number than one, else with an s.

    >>> counted(1, "bot"), counted(1_204, "bot"), counted(0, "wave")
    ('1 bot', '1,204 bots', '0 waves')
    >>> counted(1, "bot is", "bots are"), counted(2, "bot is", "bots are")
    ('1 bot is', '2 bots are')
    """
    return f"{count:,} {one if count == 1 else many or f'{one}s'}"


def some(names: Sequence[str], most: int) -> str:
    """The first of some names, and how many more there are.

    >>> some(["a", "b", "c"], 2), some(["a", "b"], 2)
    ('a, b and 1 more', 'a, b')
    """
    more = len(names) - most
    return ", ".join(names[:most]) + (f" and {more:,} more" if more > 0 else "")
