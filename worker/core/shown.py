"""Untrusted text for people: nothing in it may move a terminal's cursor or turn the direction round."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import msgspec

from worker.core.printable import escape, shorten

VALUE_WIDTH: Final = 70

_object = msgspec.json.Decoder(dict[str, msgspec.Raw])


def plain(value: object, width: int = VALUE_WIDTH) -> str:
    """A value as text, unprintable characters escaped, cut at `width` characters.

    >>> plain("a\\x1b[2J"), plain("abcdef", 4)
    ('a\\\\x1b[2J', 'abc…')
    """
    return escape(shorten(str(value), width))


def short(value: object, width: int = VALUE_WIDTH) -> str:
    """A text as it stands, anything else as JSON; escaped and cut.

    >>> short(["a", 1]), short("a")
    ('["a",1]', 'a')
    """
    return plain(value if isinstance(value, str) else _json(value), width)


def whole_lines(value: object) -> str:
    """A value whole, in the lines that it has, everything else unprintable escaped.

    >>> print(whole_lines("a\\n\\x1bb"))
    a
    \\x1bb
    """
    text = value if isinstance(value, str) else _json(value)
    return escape(text, keep_lines=True)


def fields(text: str | None) -> dict[str, str]:
    """The values of a JSON object by name: a text as it is, anything else as the JSON that stands
    there, digit by digit. What is no object has one value, without a name.

    >>> fields('{"a": "b", "n": 1.10}'), fields("[1]"), fields(None)
    ({'a': 'b', 'n': '1.10'}, {'': '[1]'}, {})
    """
    if text is None:
        return {}
    try:
        return {name: _text(value) for name, value in _object.decode(text).items()}
    except (msgspec.DecodeError, RecursionError):
        return {"": text}


def _text(value: msgspec.Raw) -> str:
    raw = bytes(value)
    return msgspec.json.decode(raw, type=str) if raw.startswith(b'"') else raw.decode()


def _json(value: object) -> str:
    try:
        return msgspec.json.encode(value).decode()
    except (OverflowError, TypeError, ValueError, RecursionError):  # more than JSON can say
        return repr(value)


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
