"""Files of text as editors on any system write them: UTF-8, or what a byte order mark says."""

from __future__ import annotations

import codecs
from typing import Final

# The longer marks first: that of UTF-32 begins with that of UTF-16.
_MARKS: Final = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


class NotTextError(ValueError):
    """Bytes that are no text in the encoding that they should have; the message says which."""


def decode(raw: bytes) -> str:
    r"""The text of a file, without its byte order mark; line breaks as they are.

    Raises:
        NotTextError: it is no text in UTF-8, or not in the encoding that its mark says.

    >>> decode(b"\xef\xbb\xbfbot-1\r\n"), decode("bot-1".encode("utf-16"))
    ('bot-1\r\n', 'bot-1')
    """
    encoding = marked_encoding(raw) or "utf-8"
    try:
        return raw.decode(encoding).removeprefix("\ufeff")
    except UnicodeDecodeError:
        # Not chained: it holds what the file holds, which may be a secret.
        raise NotTextError(f"is not {encoding.upper()}: save it as UTF-8") from None


def marked_encoding(raw: bytes) -> str | None:
    """What the byte order mark at the start says; None if there is none."""
    return next((encoding for mark, encoding in _MARKS if raw.startswith(mark)), None)
