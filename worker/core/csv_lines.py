"""CSV (RFC 4180): a record is a line, and no cell is a formula."""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence
from typing import Final

from worker.core.printable import escape

_FORMULA: Final = ("=", "+", "-", "@", "＝", "＋", "－", "＠")
"""What begins a formula in a spreadsheet."""

_NEEDS_QUOTES: Final = re.compile("[\",;']")

# Most cells are ids and codes: for these one look is enough. Of the rest, what to do about a code comes
# on every line, so that the last ones are kept.
_SIMPLE: Final = re.compile("[A-Za-z0-9][A-Za-z0-9_.:-]*")


def csv_line(cells: Sequence[object]) -> str:
    """A record, its line end included.

    Texts are escaped as everywhere; one that a spreadsheet would take for a formula begins with an
    apostrophe.
    """
    return ",".join(csv_cell(cell) for cell in cells) + "\r\n"


def csv_cell(value: object) -> str:
    """One cell of CSV.

    >>> csv_cell('=cmd|"/c calc"!A1'), csv_cell(None), csv_cell(-7), csv_cell("a,b")
    ('"\\'=cmd|""/c calc""!A1"', '', '-7', '"a,b"')
    """
    if value is None:
        return ""
    if not isinstance(value, str):
        return str(value)
    return value if _SIMPLE.fullmatch(value) else _guarded(value)


@functools.lru_cache(maxsize=256)
def _guarded(value: str) -> str:
    text = escape(value)
    if text.lstrip().startswith(_FORMULA):
        text = f"'{text}"
    if _NEEDS_QUOTES.search(text) is None and text == text.strip():
        return text
    return '"' + text.replace('"', '""') + '"'
