"""Files that a person gives, as editors on any system write them: with a byte order mark or CRLF."""

from __future__ import annotations

import codecs
import io
from collections.abc import Iterator
from typing import Any, BinaryIO, TextIO

import click

from worker.core.encoding import NotTextError, decode, marked_encoding
from worker.errors import UsageError


class TextFile(click.File):
    """A file of text (`-` is standard input), read whole: UTF-8, or what its byte order mark says."""

    def __init__(self) -> None:
        super().__init__("rb")

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> io.StringIO:
        """Read it; a line ends with LF, CRLF or CR."""
        with super().convert(value, param, ctx) as file:
            text = io.StringIO(text_of(file.read(), str(value)), newline=None)
        text.name = str(value)
        return text


def text_of(raw: bytes, name: str) -> str:
    """The text of a file, as `worker.core.encoding.decode` reads it.

    Raises:
        UsageError: it is no text in UTF-8, and no mark says what else it is.
    """
    try:
        return decode(raw)
    except NotTextError as error:
        raise UsageError(f"{name} {error}") from None


def lines_of(file: BinaryIO) -> Iterator[bytes]:
    """The lines of a file of JSON lines as they come, without a byte order mark.

    Raises:
        UsageError: the mark says that it is not UTF-8.
    """
    for number, line in enumerate(file):
        if number or (encoding := marked_encoding(line)) is None:
            yield line
        elif encoding == "utf-8":
            yield line.removeprefix(codecs.BOM_UTF8)
        else:
            name = getattr(file, "name", "standard input")
            raise UsageError(f"{name} is {encoding.upper()}: save it as UTF-8")


def listed(given: tuple[str, ...], file: TextIO | None, what: str) -> tuple[str, ...] | None:
    """What the command line and a file name, one a line in the file; None if neither was given.

    Raises:
        UsageError: a file was given and names nothing.
    """
    if file is None:
        return given or None
    lines = (line.strip() for line in file)
    found = (*given, *(line for line in lines if line))
    if not found:
        raise UsageError(f"there are no {what} in {file.name}")
    return found
