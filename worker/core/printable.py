"""Untrusted text where people read it: nothing in it may act on a terminal, or hide in a line.

Escaped are control characters (ESC, CR, tab, line feed, C1 and all the others), line and paragraph
separators, halves of surrogate pairs, what turns the direction of writing round, and whatever is not
seen: zero-width characters, fillers, tags, variation selectors. Spaces of every width stay.

What joins or selects stays only where it does that: in an emoji (a family, a heart in colour), and
between the letters of scripts that are written with joiners.
"""

from __future__ import annotations

import re
import unicodedata
from typing import Final

# Unicode's Default_Ignorable_Code_Point: what a renderer shows nothing for. Beyond it, Python's own
# `isprintable` knows the rest (control, format, surrogate, private, unassigned, separators).
_UNSEEN: Final = re.compile(
    "[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e"
    "\u2060-\u206f\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufff8\U0001bca0-\U0001bca3"
    "\U0001d173-\U0001d17a\U000e0000-\U000e0fff]"
)
_LOOKED_AT: Final = re.compile("[^ -~\uac00-\ud7a3]")
"""What may not be seen: anything but ASCII's printable characters and the syllables of Hangul."""

_EMOJI: Final = re.compile("[\u00a9\u00ae\u203c-\u3299\U0001f000-\U0001faff]")
"""Pictures, also those that this Python's Unicode does not know yet."""

_INFORMATION: Final = "\u2139"
_OF_PICTURES: Final = frozenset(("So", "Sk", "Sm", "Po", "Pd", "Cn"))
_KEYS: Final = frozenset("0123456789#*")
_KEYCAP: Final = "\u20e3"
_ZWJ: Final = "\u200d"
_JOINERS: Final = "\u200c\u200d"
_SELECTORS: Final = "\ufe0e\ufe0f"
_VIRAMA: Final = 9


def escape(text: str, *, keep_lines: bool = False) -> str:
    """`text` with everything that is not simply seen as an escape of Python's.

    With `keep_lines` a line feed stays what it is.

    >>> print(escape("a\\x1b[2J\\u202eb\\nc 안녕"))
    a\\x1b[2J\\u202eb\\nc 안녕
    """
    if is_plain(text):
        return text

    def shown(found: re.Match[str]) -> str:
        character = found[0]
        if (keep_lines and character == "\n") or _is_seen(text, found.start()):
            return character
        return character.encode("unicode_escape").decode()

    return _LOOKED_AT.sub(shown, text)


def escape_json(document: str, *, as_ascii: bool = False) -> str:
    """A JSON document that says the same, with what `escape` escapes as JSON's own escapes.

    With `as_ascii` every other character beyond ASCII too. Such characters stand only inside strings
    there, apart from the white space between tokens.

    >>> print(escape_json('{"a": "\\u202e", "b": "한 \\U000e0041"}'))
    {"a": "\\u202e", "b": "한 \\udb40\\udc41"}
    """
    if is_plain(document) and (document.isascii() or not as_ascii):
        return document
    return "".join(
        character
        if character in "\n\r\t"
        or (_is_seen(document, at) and (character.isascii() or not as_ascii))
        else _json_escape(character)
        for at, character in enumerate(document)
    )


def shorten(text: str, longest: int) -> str:
    """At most `longest` characters of a text, with an ellipsis where some are left out.

    >>> shorten("abcdef", 4), shorten("abcd", 4)
    ('abc…', 'abcd')
    """
    return text if len(text) <= longest else text[: longest - 1] + "…"


def is_plain(text: str) -> bool:
    """Whether there is nothing to escape."""
    return text.isprintable() and (text.isascii() or _UNSEEN.search(text) is None)


def _is_seen(text: str, at: int) -> bool:
    character = text[at]
    if character.isprintable() and _UNSEEN.match(character) is None:
        return True
    before, after = text[at - 1 : at], text[at + 1 : at + 2]
    if character in _JOINERS:
        joins = character == _ZWJ and _joins_emoji(before, after)
        return joins or _joins_letters(before, after)
    if character in _SELECTORS:
        return _is_picture(before) or (before in _KEYS and after == _KEYCAP)
    return unicodedata.category(character) == "Zs" or _is_picture(character)


def _joins_emoji(before: str, after: str) -> bool:
    return (_is_picture(before) or before == "\ufe0f") and _is_picture(after)


def _joins_letters(before: str, after: str) -> bool:
    """As in IDNA's rules for joiners: after a virama, or between letters of Arabic scripts."""
    if not before or not after:
        return False
    if unicodedata.combining(before) == _VIRAMA:
        return unicodedata.category(after).startswith("L")
    return unicodedata.bidirectional(before) == "AL" == unicodedata.bidirectional(after)


def _is_picture(character: str) -> bool:
    if not character or _EMOJI.match(character) is None or _UNSEEN.match(character):
        return False
    return character == _INFORMATION or unicodedata.category(character) in _OF_PICTURES


def _json_escape(character: str) -> str:
    units = character.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[i]:02x}{units[i + 1]:02x}" for i in range(0, len(units), 2))
