"""Untrusted text for a picture: cut before it is looked at, escaped, and as wide as its place."""

from __future__ import annotations

import unicodedata
from typing import Final

from worker.core.printable import escape

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


def _width(character: str) -> float:
    return _WIDE if unicodedata.east_asian_width(character) in ("W", "F") else 1
