"""The one way out: whatever a command prints goes through here, to a terminal and into a pipe alike.

Names, ids, prompts, messages and reasons are untrusted. Nothing in them may act on a
terminal, turn the direction of writing round, forge a line or be read as markup: so every text is
escaped (worker/core/printable.py) when it is made here, line breaks included, and whatever reaches a
console in another way when it is rendered. A test holds every other module to it.
"""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from itertools import accumulate
from typing import Any, Final, Protocol, TextIO, cast

import click
import msgspec
from rich import console as rich_console
from rich import table as rich_table
from rich import text as rich_text
from rich.console import ConsoleOptions, RenderableType
from rich.padding import Padding
from rich.segment import Segment

from worker.core.csv_lines import csv_line
from worker.core.printable import escape, escape_json
from worker.errors import UsageError

PIPE_WIDTH: Final = 140


class Text(rich_text.Text):
    """A line of text with styles, escaped; with `keep_lines` several lines."""

    def __init__(
        self, text: str = "", style: Any = "", *, keep_lines: bool = False, **kept: Any
    ) -> None:
        super().__init__(escape(text, keep_lines=keep_lines), style, **kept)

    def append(self, text: rich_text.Text | str, style: Any = None) -> Text:
        """Add to the line; a text that is no `Text` is escaped."""
        super().append(escape(text) if isinstance(text, str) else text, style)
        return self

    def append_text(self, text: rich_text.Text) -> Text:
        """Add another text as it is styled."""
        super().append_text(text)
        return self

    def append_line(self, line: str, style: Any = None) -> Text:
        """Add a line below."""
        super().append("\n")
        return self.append(line, style)


class Table(rich_table.Table):
    """A table whose cells are lines, escaped before their columns are measured."""

    @classmethod
    def grid(cls, *headers: Any, **options: Any) -> Table:
        """A table without lines and headings."""
        return cast("Table", super().grid(*headers, **options))

    def add_row(self, *cells: RenderableType | None, **options: Any) -> None:
        """Add a row."""
        escaped = (Text(cell) if isinstance(cell, str) else cell for cell in cells)
        super().add_row(*escaped, **options)


class Console(rich_console.Console):
    """A console that knows no markup and lets nothing act on the terminal but itself."""

    def print(self, *objects: Any, **options: Any) -> None:
        """Print texts and tables. Line feeds in front of the first are empty lines above it."""
        if objects and isinstance(objects[0], str):
            first = objects[0].lstrip("\n")
            if above := len(objects[0]) - len(first):
                self.line(above)
            objects = (first, *objects[1:])
        if len(objects) == 1 and not self.soft_wrap:
            objects = (_indented(objects[0]),)
        super().print(*objects, **options)

    def show_cursor(self, show: bool = True) -> bool:  # noqa: ARG002
        """Leave the cursor alone: a command that is killed could not bring it back."""
        return False

    def on_broken_pipe(self) -> None:
        """Let `main` end the command: Rich would, with 1."""
        raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))

    def render_str(self, text: str, *, style: Any = "", **options: Any) -> rich_text.Text:
        """A text as it stands: no markup, no names of emoji, no highlighting."""
        kept = {name: options[name] for name in ("justify", "overflow") if name in options}
        return Text(text, style, **kept)

    def render(
        self, renderable: RenderableType, options: ConsoleOptions | None = None
    ) -> Iterable[Segment]:
        """Turn whatever is to be shown into segments; a text that was not made here is escaped."""
        if isinstance(renderable, rich_text.Text):
            renderable = _escaped(renderable)
        return super().render(renderable, options)


def _indented(shown: Any) -> Any:
    """A line that begins with spaces, so that what is wrapped of it begins there too."""
    if not isinstance(shown, str | rich_text.Text):
        return shown
    text = shown if isinstance(shown, rich_text.Text) else Text(shown)
    width = len(text.plain) - len(text.plain.lstrip(" "))
    if width == 0 or "\n" in text.plain:
        return shown
    return Padding(text[width:], (0, 0, 0, width), expand=False)


def _escaped(text: rich_text.Text) -> rich_text.Text:
    plain = text.plain
    if escape(plain, keep_lines=True) == plain:
        return text
    pieces = [escape(character, keep_lines=True) for character in plain]
    starts = list(accumulate(map(len, pieces), initial=0))
    clean = text.blank_copy("".join(pieces))
    clean.spans = [
        rich_text.Span(
            starts[min(span.start, len(pieces))], starts[min(span.end, len(pieces))], span.style
        )
        for span in text.spans
    ]
    return clean


def console(*, stderr: bool = False) -> Console:
    """A console that is as wide as the terminal, and 140 columns without one."""
    stream = sys.stderr if stderr else sys.stdout
    width = None if stream.isatty() else PIPE_WIDTH
    return Console(file=stream, width=width, highlight=False, soft_wrap=not stream.isatty())


def say(text: str, *, err: bool = False) -> None:
    """Print one line, whatever `text` holds; to standard error where `err`."""
    _write(sys.stderr if err else sys.stdout, escape(text) + "\n")


def say_lines(text: str, *, err: bool = False) -> None:
    """Print a text of ours in the lines that it has: help, SQL, a traceback."""
    _write(sys.stderr if err else sys.stdout, escape(text, keep_lines=True).rstrip("\n") + "\n")


def print_json(value: Any) -> None:
    """One JSON document on standard output, for scripts: every text exact.

    What a terminal might act on is written as JSON's own escapes.
    """
    as_ascii = (sys.stdout.encoding or "utf-8").lower() not in ("utf-8", "utf8")
    document = msgspec.json.encode(value).decode()
    _write(sys.stdout, escape_json(document, as_ascii=as_ascii) + "\n")


def print_json_with(head: Mapping[str, Any], name: str, items: Iterable[Any]) -> None:
    """The object `head` with a list `name` at its end, item by item: no more than one is kept."""
    as_ascii = (sys.stdout.encoding or "utf-8").lower() not in ("utf-8", "utf8")

    def written(value: Any) -> str:
        return escape_json(msgspec.json.encode(value).decode(), as_ascii=as_ascii)

    _write(sys.stdout, f"{written(head)[:-1]},{written(name)}:[", flush=False)
    for at, item in enumerate(items):
        _write(sys.stdout, f"{',' if at else ''}{written(item)}", flush=False)
    _write(sys.stdout, "]}\n")


def json_lines() -> Lines:
    """Where JSON lines go, byte by byte; on a terminal with JSON's escapes, as `print_json` does."""
    return _TerminalLines(sys.stdout) if sys.stdout.isatty() else sys.stdout.buffer


def print_csv(header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """A CSV document on standard output, row by row (RFC 4180, the header first).

    Texts are escaped as everywhere, so that a record is a line; one that a spreadsheet would take
    for a formula begins with an apostrophe.
    """
    _write(sys.stdout, csv_line(header))
    for row in rows:
        _write(sys.stdout, csv_line(row), flush=False)
    sys.stdout.flush()


def confirm(question: str, *, yes: bool) -> None:
    """Ask a person whether to go on; with `yes` nothing is asked.

    Raises:
        UsageError: there is no terminal to ask on.
        click.Abort: the answer was another than y or yes.
    """
    if yes:
        return
    if not sys.stdin.isatty():
        raise UsageError(f"{question} There is no terminal to ask on: say --yes")
    _write(sys.stderr, f"{escape(question)} [y/N] ")
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        say("nothing was changed", err=True)
        raise click.Abort


def ask_password() -> str:
    """Have a person type a new password twice on the terminal, unseen."""
    typed: str = click.prompt("Password", hide_input=True, err=True, confirmation_prompt=True)
    return typed


def confirm_count(question: str, count: int, *, yes: bool) -> None:
    """Have a person type the number that is at stake; with `yes` nothing is asked.

    Raises:
        UsageError: there is no terminal to ask on.
        click.Abort: something else was typed.
    """
    if yes:
        return
    if not sys.stdin.isatty():
        raise UsageError(f"{question} There is no terminal to ask on: say --yes")
    _write(sys.stderr, f"{escape(question)} Type the number to go on: ")
    if sys.stdin.readline().strip().replace(",", "") != str(count):
        say("nothing was changed", err=True)
        raise click.Abort


class Lines(Protocol):
    """What takes lines of JSON."""

    def write(self, line: bytes, /) -> int:
        """Write a line, its line feed included."""

    def flush(self) -> None:
        """See to it that it arrives."""


class _TerminalLines:
    """Takes bytes of JSON and writes them so that a terminal shows them."""

    def __init__(self, out: TextIO) -> None:
        self._out = out

    def write(self, line: bytes, /) -> int:
        self._out.write(escape_json(line.decode(errors="backslashreplace")))
        return len(line)

    def flush(self) -> None:
        self._out.flush()


def _write(stream: TextIO, text: str, *, flush: bool = True) -> None:
    stream.write(text)
    if flush:
        stream.flush()
