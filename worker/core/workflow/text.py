"""What a column may hold, decided on its text before anything is parsed (design section 5).

Three rules: PostgreSQL's jsonb must be able to hold it, it is not too large, it is not too deep.
Each is decided in one pass without recursion, so that no text can exhaust the stack or the memory.
What passes them is read as the platform, written in Python, reads it.
"""

from __future__ import annotations

import json
import re
from itertools import accumulate
from typing import Any, Final

import msgspec
from msgspec import Raw

from worker.core.codes import Issue

MAX_BYTES: Final = 4 * 1024 * 1024
MAX_LEVELS: Final = 100

_SUSPECT = re.compile(rb"\\u(?:0000|[dD][89a-fA-F])")
_ESCAPE = re.compile(rb"\\(?:u([0-9a-fA-F]{4})|.)", re.DOTALL)
_PAIR_OR_ESCAPE = re.compile(
    rb"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|" + _ESCAPE.pattern, re.DOTALL
)
# jsonb keeps numbers as `numeric`: up to 131,072 digits before the point, 16,383 after it
# (PostgreSQL documentation, 8.1.2). Only an exponent or thousands of digits get there.
_LONG_EXPONENT = re.compile(rb"[eE][+-]?[0-9]{4}")
_NUMBER = re.compile(rb"([0-9]+)(?:\.([0-9]+))?(?:[eE]([+-]?)([0-9]+))?")
_NUMERIC_WHOLE_DIGITS: Final = 131_072
_NUMERIC_SCALE: Final = 16_383
_NUMERIC_EXPONENT: Final = 2**30 - 1

_DIGITS: Final = bytes.maketrans(b"123456789E", b"000000000e")
_NOT_BRACKETS: Final = bytes(set(range(256)) - set(b"[]{}"))
_DELTA: Final = [{"[": 1, "{": 1, "]": -1, "}": -1}.get(chr(code), 0) for code in range(256)]
_LONE_SURROGATE: Final = "it holds half of a surrogate pair, which PostgreSQL's jsonb cannot store"


def issues_of_text(text: bytes) -> list[Issue]:
    r"""What is wrong with the text itself: `invalid_text`, `too_large`, both or neither.

    Linear in the length of `text`; an empty list means that it is safe to parse.

    >>> [issue.code for issue in issues_of_text(rb'{"a": "\u0000"}')]
    ['invalid_text']
    """
    issues = []
    outside = outside_strings(text) if _may_be_beyond(text) else b""
    if fault := _bad_character(text) or _bad_number(outside):
        issues.append(Issue("invalid_text", "", fault))
    if len(text) > MAX_BYTES:
        issues.append(Issue("too_large", "", f"{len(text):,} bytes of JSON; at most {MAX_BYTES:,}"))
    elif (levels := levels_of(outside)) > MAX_LEVELS:
        issues.append(
            Issue("too_large", "", f"nested {levels:,} levels deep; at most {MAX_LEVELS}")
        )
    return issues


def outside_strings(text: bytes) -> bytes:
    r"""`text` without its string literals: brackets, numbers and words.

    Escaped backslashes go first, then escaped quotes; what is left of quotes then opens and closes
    strings in turn. (Whole-text operations: several times faster than a tokeniser.)

    >>> outside_strings(rb'{"a\"[": [1, "b"]}')
    b'{: [1, ]}'
    """
    if b"\\" in text:
        text = text.replace(b"\\\\", b"").replace(b'\\"', b"")
    return b"".join(text.split(b'"')[::2])


def levels_of(outside: bytes) -> int:
    """How deep arrays and objects nest; the outermost is level 1.

    >>> levels_of(b"[[][[]]]"), levels_of(b"7")
    (3, 0)
    """
    brackets = outside.translate(None, _NOT_BRACKETS)
    return max(accumulate(map(_DELTA.__getitem__, brackets)), default=0)


def _may_be_beyond(text: bytes) -> bool:
    """Whether there are brackets enough to be too deep, or digits enough for a number beyond `numeric`.

    Strings count too, and nothing is read: that spares most texts the rest.
    """
    return (
        len(text) >= _NUMERIC_SCALE - 999
        or text.count(b"[") + text.count(b"{") > MAX_LEVELS
        or b"0e0000" in text.translate(_DIGITS, b"+-")
    )


def _bad_character(text: bytes) -> str | None:
    """The first character that jsonb refuses: NUL, or half of a surrogate pair."""
    if b"\x00" in text:
        return "it holds a NUL character, which PostgreSQL's jsonb cannot store"
    if not _SUSPECT.search(text):
        return None
    expected_low_at = -1
    for match in _ESCAPE.finditer(text):
        unit = int(match[1], 16) if match[1] else -1
        in_place = match.start() == expected_low_at
        if (0xDC00 <= unit <= 0xDFFF) != in_place or (expected_low_at >= 0 and not in_place):
            return _LONE_SURROGATE
        if unit == 0:
            return "it holds a NUL character (\\u0000), which PostgreSQL's jsonb cannot store"
        expected_low_at = match.end() if 0xD800 <= unit <= 0xDBFF else -1
    return _LONE_SURROGATE if expected_low_at >= 0 else None


def _bad_number(outside: bytes) -> str | None:
    """The first number beyond PostgreSQL's `numeric`."""
    if len(outside) < _NUMERIC_SCALE - 999 and not _LONG_EXPONENT.search(outside):
        return None
    if any(_is_beyond_numeric(match) for match in _NUMBER.finditer(outside)):
        return "it holds a number beyond PostgreSQL's numeric, which jsonb cannot store"
    return None


def _is_beyond_numeric(number: re.Match[bytes]) -> bool:
    """Whether `numeric` refuses a number: too long an exponent, too many digits on either side."""
    whole, fraction, sign = number[1], number[2] or b"", number[3] or b""
    exponent = (number[4] or b"").lstrip(b"0") or b"0"
    if len(exponent) > 10 or int(exponent) > _NUMERIC_EXPONENT:
        return True
    shift = int(sign + exponent)
    digits = whole + fraction
    leading_zeros = len(digits) - len(digits.lstrip(b"0"))
    whole_digits = len(whole) - leading_zeros + shift if leading_zeros < len(digits) else 0
    return whole_digits > _NUMERIC_WHOLE_DIGITS or len(fraction) - shift > _NUMERIC_SCALE


def replace_unstorable(text: bytes) -> bytes:
    """`text` with every unstorable escape replaced, so that its other problems can be named.

    Only for reports: the result is never converted.
    """

    def harmless(match: re.Match[bytes]) -> bytes:
        unit = int(match[1], 16) if match[1] else -1
        return b"\\ufffd" if unit == 0 or 0xD800 <= unit <= 0xDFFF else match[0]

    return _PAIR_OR_ESCAPE.sub(harmless, text.replace(b"\x00", b" "))


def _whole_number(digits: str) -> int | float:
    """Python reads no more than 4,300 digits; such a number is beyond every bound that there is."""
    return int(digits) if len(digits) <= 4_300 else float(digits)


_value: Final = msgspec.json.Decoder[Any]()
_long_numbers = json.JSONDecoder(parse_int=_whole_number)


def platform_value(raw: bytes | Raw, decoder: msgspec.json.Decoder[Any] = _value) -> Any:
    """What the platform has in hand for a JSON value: what Python's `json.loads` makes of it.

    Whole numbers of any length, `1e400` as infinity, the last of doubled keys. `raw` is JSON that
    `issues_of_text` found nothing wrong with, and begins with its first character. A `decoder` that
    passes over some keys is quicker; they may be in the result all the same.

    >>> platform_value(b"1e400"), platform_value(b'{"a": 1, "a": 2.0}')
    (inf, {'a': 2.0})
    """
    try:
        return decoder.decode(raw)
    except msgspec.ValidationError:  # a number beyond a float, or of thousands of digits
        return _long_numbers.raw_decode(bytes(raw).decode())[0]
