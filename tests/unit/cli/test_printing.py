"""The one way out of a command: what it escapes, and that no module goes another way."""

from __future__ import annotations

import ast
import io
import json
import sys
from pathlib import Path

import click
import pytest
from rich import text as rich_text
from rich.progress import Progress, TextColumn

import worker
from worker.cli.printing import (
    Console,
    Table,
    Text,
    confirm,
    json_lines,
    print_csv,
    print_json,
    say,
)
from worker.core.csv_lines import csv_cell
from worker.errors import UsageError

EVIL = "a\x1b[2J\r\x07\x9b\u202e\u200b\nFORGED [bold]x[/bold] :skull:"
SHOWN = "a\\x1b[2J\\r\\x07\\x9b\\u202e\\u200b\\nFORGED [bold]x[/bold] :skull:"


def rendered(*objects: object, terminal: bool = False) -> str:
    file = io.StringIO()
    Console(file=file, width=300, force_terminal=terminal, color_system=None).print(*objects)
    return file.getvalue()


@pytest.mark.parametrize("terminal", [True, False])
def test_every_way_to_print_shows_a_strangers_text_escaped_on_its_line(terminal: bool) -> None:
    table = Table(EVIL, title=EVIL, box=None)
    table.add_row(EVIL)
    table.add_row(Text(EVIL))
    for printed in (
        EVIL,
        Text(EVIL),
        Text("").append(EVIL, "red"),
        Text().append_line(EVIL),
        table,
    ):
        out = rendered(printed, terminal=terminal).replace("\x1b[3m", "").replace("\x1b[1m", "")
        out = out.replace("\x1b[0m", "").replace("\x1b[31m", "")
        assert SHOWN in out
        assert "\nFORGED" not in out
        assert out.replace("\n", "").isprintable()


def test_a_text_that_was_made_elsewhere_is_escaped_when_it_is_rendered() -> None:
    foreign = rich_text.Text("ab\x1b[2Jcd", "bold")
    foreign.stylize("red", 2, 4)
    file = io.StringIO()
    Console(file=file, width=80, force_terminal=True, color_system="standard").print(foreign)
    assert file.getvalue() == "\x1b[1mab\x1b[0m\x1b[1;31m\\x1b[\x1b[0m\x1b[1m2Jcd\x1b[0m\n"
    bar = Progress(TextColumn("{task.description}", markup=False), console=Console(file=file))
    bar.add_task("\x1b[2J")
    assert "\\x" in rendered(bar)
    assert "\x1b" not in rendered(bar)


def test_lines_of_our_own_stay_lines() -> None:
    assert rendered("\nabove") == "\nabove\n"
    assert rendered(Text("a\nb\x1b", keep_lines=True)) == "a\nb\\x1b\n"
    assert rendered(Text("a").append_line("b\nc")) == "a\nb\\nc\n"


def test_a_line_is_said_as_it_is_and_json_stays_exact(capsys: pytest.CaptureFixture[str]) -> None:
    say(EVIL)
    print_json({EVIL: "한글 👩\u200d🚀"})
    out, _ = capsys.readouterr()
    said, told = out.splitlines()
    assert said == SHOWN
    assert json.loads(told) == {EVIL: "한글 👩\u200d🚀"}
    assert "한글 👩\u200d🚀" in told
    assert told.replace("\u200d", "").isprintable()


def test_json_is_json_in_every_encoding_of_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    out = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(out, encoding="ascii"))
    print_json("한 🚀")
    assert json.loads(out.getvalue()) == "한 🚀"


def test_lines_of_json_are_exact_in_a_pipe_and_escaped_on_a_terminal(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    line = '{"a":"\u202e"}\n'.encode()
    for terminal, expected in ((False, line), (True, b'{"a":"\\u202e"}\n')):
        out = io.BytesIO()
        stream = io.TextIOWrapper(out, encoding="utf-8")
        monkeypatch.setattr(stream, "isatty", lambda terminal=terminal: terminal, raising=False)
        monkeypatch.setattr(sys, "stdout", stream)
        lines = json_lines()
        lines.write(line)
        lines.flush()
        assert out.getvalue() == expected


@pytest.mark.parametrize("sign", ["=", "+", "-", "@", "＝", " =", "\t=", "\r=", "\n="])
def test_no_cell_of_csv_begins_a_formula(sign: str) -> None:
    cell = csv_cell(f"{sign}HYPERLINK(1)")
    assert cell.startswith(("\"'", "\\"))


def test_csv_is_a_record_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    print_csv(("bot", "n"), [("a,b", 1), ('say "x"', -2), ("a\nb\u202e", None)])
    assert capsys.readouterr().out == 'bot,n\r\n"a,b",1\r\n"say ""x""",-2\r\na\\nb\\u202e,\r\n'


def test_what_cannot_be_taken_back_is_asked_and_refused_where_nobody_can_be_asked(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    confirm("Delete it?", yes=True)
    monkeypatch.setattr(sys, "stdin", io.StringIO("y\n"))
    with pytest.raises(UsageError, match="say --yes"):
        confirm("Delete it?", yes=False)
    for answer, goes_on in (("y", True), ("YES", True), ("n", False), ("", False)):
        stream = io.StringIO(f"{answer}\n")
        monkeypatch.setattr(stream, "isatty", lambda: True, raising=False)
        monkeypatch.setattr(sys, "stdin", stream)
        if goes_on:
            confirm("Delete \x1b[2J?", yes=False)
        else:
            with pytest.raises(click.Abort):
                confirm("Delete it?", yes=False)
    out, err = capsys.readouterr()
    assert out == ""
    assert "Delete \\x1b[2J? [y/N] " in err
    assert "nothing was changed" in err


# -- no other way ----------------------------------------------------------------------------------

HERE = Path(worker.__file__).parent / "cli"
FORBIDDEN = {
    *("print", "sys.stdout", "sys.stderr", "sys.__stdout__", "sys.__stderr__", "os.write"),
    *(
        f"click.{name}"
        for name in ("echo", "secho", "style", "confirm", "prompt", "echo_via_pager")
    ),
    *(
        f"rich.{name}"
        for name in ("print", "console", "text", "table", "markup", "prompt", "pretty")
    ),
}


def ways_out(source: str) -> set[str]:
    """What a module uses to print past worker/cli/printing.py; flushing prints nothing of its own."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(source.replace("sys.stdout.flush()", "pass"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.Attribute):
            found.add(ast.unparse(node))
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            found.add(node.func.id)
            named = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
            if node.func.id == "TextColumn" and named.get("markup") != "False":
                found.add("TextColumn with markup")
    return found & (FORBIDDEN | {"TextColumn with markup"})


@pytest.mark.parametrize("path", sorted(HERE.glob("*.py")), ids=lambda path: path.name)
def test_no_module_of_the_command_line_prints_another_way(path: Path) -> None:
    if path.name not in ("printing.py", "streams.py"):  # the second one only flushes
        assert not ways_out(path.read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    "source",
    [
        "print('x')",
        "import click\nclick.echo('x')",
        "from click import echo",
        "import sys\nsys.stdout.write('x')",
        "from rich.console import Console",
        "from rich import print",
        "from rich.progress import TextColumn\nTextColumn('{task.description}')",
    ],
)
def test_another_way_out_would_be_found(source: str) -> None:
    assert ways_out(source)
