"""Ids cut where people read many of them at once."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

SHORT_ID: Final = 8
"""So many characters of an id are shown at least."""


def distinct_length(ids: Iterable[object], least: int = SHORT_ID) -> int:
    """How many characters of each id tell it from the others: `least` at least.

    The ids of what one run recorded begin alike.

    >>> distinct_length(["00000100-0005", "00000100-000d"]), distinct_length(["a", "b"])
    (13, 8)
    """
    texts = {str(one) for one in ids}
    length = least
    while len({text[:length] for text in texts}) < len(texts):
        length += 1
    return length
