"""What the columns can hold: numbers of a run and of a batch, and texts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

INT4_MAX: Final = 2**31 - 1
INT8_MAX: Final = 2**63 - 1


def unstorable(text: str) -> str | None:
    """Why PostgreSQL cannot hold a text; None if it can.

    >>> unstorable("a\\x00b"), unstorable("a\\ud800"), unstorable("안녕")
    ('it holds the character NUL', 'it holds half of a surrogate pair', None)
    """
    if "\0" in text:
        return "it holds the character NUL"
    if any("\ud800" <= character <= "\udfff" for character in text):
        return "it holds half of a surrogate pair"
    return None


def unstorable_within(value: object) -> str | None:
    """The same of every text in a value made of mappings and lists, keys included."""
    if isinstance(value, str):
        return unstorable(value)
    if isinstance(value, Mapping):
        return unstorable_within([*value.keys(), *value.values()])
    if isinstance(value, list | tuple):
        return next((why for one in value if (why := unstorable_within(one))), None)
    return None
