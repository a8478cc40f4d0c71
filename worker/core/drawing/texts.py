"""Untrusted text for a picture: cut before it is looked at, escaped, and as wide as its place."""

from __future__ import annotations

import unicodedata
from typing import Final

from worker.core.printable import escape

HOVER_LENGTH: Final = 200
"""Characters of a text that a pointer may bring up."""

_WIDE: Final = 1.7
_CUT: Final = "…"


def fitted(value: object, columns: float) -> str:
    """A value as one line that takes at most `columns`, a column being a Latin letter's width.

    Korean, Chinese and Japanese letters, and pictures, take 1.7 columns each.

    >>> fitted("knowledge", 6), fitted("지식 검색", 6), fitted("a\\u202eb", 20)
    ('knowl…', '지식…', 'a\\\\u202eb')
    """
    text = escape(str(value)[: int(columns) + 1])
    if sum(map(_width, text)) <= columns:
        return text
    room = columns - 1
    kept = []
    for character in text:
        room -= _width(character)
        if room < 0:
            break
        kept.append(character)
    return "".join(kept).rstrip() + _CUT


def whole(value: object, length: int = HOVER_LENGTH) -> str:
    """A value as one line of at most `length` characters before escaping.

    >>> whole("a\\nb"), whole("abcdef", 4)
    ('a\\\\nb', 'abc…')
    """
    text = str(value)
    return escape(text if len(text) <= length else text[: length - 1] + _CUT)


def _width(character: str) -> float:
    return _WIDE if unicodedata.east_asian_width(character) in ("W", "F") else 1
