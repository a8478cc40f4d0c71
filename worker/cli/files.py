"""Files that a person gives, as editors on any system write them: with a byte order mark or CRLF."""

from __future__ import annotations

import codecs
import io
from collections.abc import Iterator
from typing import Any, BinaryIO, Final

import click

from worker.errors import UsageError

# The longer marks first: that of UTF-32 begins with that of UTF-16.
_MARKS: Final = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


class TextFile(click.File):
    """A file of text (`-` is standard input), read whole: UTF-8, or what its byte order mark says."""

    def __init__(self) -> None:
        super().__init__("rb")

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> io.StringIO:
        """Read it."""
        with super().convert(value, param, ctx) as file:
            text = io.StringIO(text_of(file.read(), str(value)))
        text.name = str(value)
        return text


def text_of(raw: bytes, name: str) -> str:
    r"""The text of a file, without its byte order mark; line breaks as they are.

    Raises:
        UsageError: it is no text in UTF-8, and no mark says what else it is.

    >>> text_of(b"\xef\xbb\xbfbot-1\r\n", "bots.txt"), text_of("bot-1".encode("utf-16"), "bots.txt")
    ('bot-1\r\n', 'bot-1')
    """
    encoding = _encoding(raw)
    try:
        return raw.decode(encoding or "utf-8").removeprefix("\ufeff")
    except UnicodeDecodeError:
        raise UsageError(
            f"{name} is not {(encoding or 'utf-8').upper()}: save it as UTF-8"
        ) from None


def lines_of(file: BinaryIO) -> Iterator[bytes]:
    """The lines of a file of JSON lines as they come, without a byte order mark.

    Raises:
        UsageError: the mark says that it is not UTF-8.
    """
    for number, line in enumerate(file):
        if number or (encoding := _encoding(line)) is None:
            yield line
        elif encoding == "utf-8":
            yield line.removeprefix(codecs.BOM_UTF8)
        else:
            name = getattr(file, "name", "standard input")
            raise UsageError(f"{name} is {encoding.upper()}: save it as UTF-8")


def _encoding(raw: bytes) -> str | None:
    return next((encoding for mark, encoding in _MARKS if raw.startswith(mark)), None)
