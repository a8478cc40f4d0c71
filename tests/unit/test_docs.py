"""What the documentation says can be typed and followed: command lines parse, links lead somewhere."""

from __future__ import annotations

import io
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import click
import pytest

from worker.cli import cli

ROOT = Path(__file__).parents[2]
GENERATED = {"commands.md", "settings.md", "states.md", "codes.md", "events.md"}
FRONT = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md")]
GUIDES = sorted((ROOT / "docs").rglob("*.md"))
WRITTEN = [page for page in (*FRONT, *GUIDES) if page.name not in GENERATED]

NOT_RUN = "<!-- not run:"
"""Before a block of code: its command lines cannot be tried here, and why."""

# What stands for something in a command line, and something that fits there.
PLACEHOLDERS = {
    "RUN": "3",
    "N": "5",
    "BOT": "bot_000005",
    "CODE": "cycle",
    "FILE": "/dev/null",
    "…": "환불",
}


def command_lines(text: str) -> Iterator[str]:
    """Each line of shell in the blocks of a page that may be tried, and each command in its prose."""
    prose = re.sub(r"^ *```.*?^ *```$", "", text, flags=re.DOTALL | re.MULTILINE)
    for code in re.findall(r"`(flowshift [a-z][^`]*)`", prose):
        yield " ".join(code.split())
    for before, language, body in re.findall(
        r"((?:[^\n]*\n){0,2}) *```(\w+)\n(.*?)\n *```", text, re.DOTALL
    ):
        if NOT_RUN in before or language not in ("console", "sh", "bash"):
            continue
        joined = re.sub(r"\\\n", " ", body)
        for line in joined.splitlines():
            if language != "console":
                yield line
            elif line.strip().startswith("$ "):
                yield line.strip()[2:]


def calls(line: str) -> Iterator[list[str]]:
    """The arguments of each call of flowshift in a line of shell, Compose's `cli` included."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars="|&;<>")
    lexer.whitespace_split = True
    words, taken = [*lexer, "|"], list[str]()
    for word in words:
        if word in ("|", "||", "&&", "&", ";", "<", ">", ">>"):
            for name in ("flowshift", "cli"):
                if name in taken[:1] or (name == "cli" and name in taken and "run" in taken):
                    yield taken[taken.index(name) + 1 :]
                    break
            taken = []
        elif not (re.fullmatch(r"[A-Z_]+=.*", word) and not taken):
            taken.append(word)


def every_call() -> Iterator[tuple[str, str, list[str]]]:
    for page in WRITTEN:
        for line in command_lines(page.read_text(encoding="utf-8")):
            if "flowshift" not in line and " cli " not in line:
                continue
            for arguments in calls(line):
                yield page.relative_to(ROOT).as_posix(), line, arguments


def parse(arguments: list[str]) -> None:
    """Parse as the command line does, down to the last subcommand, and run nothing."""
    rest = [word for word in (filled(each) for each in arguments) if word]
    command: click.Command = cli
    name, parent = "flowshift", None
    with ExitStack() as opened:
        while True:
            context: click.Context = command.make_context(name, rest, parent=parent)
            opened.callback(context.close)
            rest = [*context._protected_args, *context.args]
            if not isinstance(command, click.Group) or not rest:
                return
            found, below, rest = command.resolve_command(context, rest)
            assert below is not None
            command, name, parent = below, str(found), context


def filled(word: str) -> str:
    """What a person would type for a placeholder; an empty file for one that is an example."""
    word = word.strip("[]")  # may be left out
    is_file = re.fullmatch(r"[\w.-]+\.(txt|json|jsonl|csv)", word)
    return os.devnull if is_file else PLACEHOLDERS.get(word, word)


@pytest.fixture(autouse=True)
def somewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """In the checkout, with nothing to read from standard input."""
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(), encoding="utf-8"))


def test_every_command_line_of_the_documentation_parses() -> None:
    wrong, tried = [], 0
    for page, line, arguments in every_call():
        tried += 1
        try:
            parse(arguments)
        except click.exceptions.Exit:
            continue
        except click.MissingParameter as error:
            if f"`{line}`" not in " ".join((ROOT / page).read_text(encoding="utf-8").split()):
                wrong.append(f"{page}: {line}: {error.format_message()}")  # not only named in prose
        except click.UsageError as error:
            wrong.append(f"{page}: {line}: {error.format_message()}")
    assert wrong == []
    assert tried > 80


@pytest.mark.parametrize(
    "arguments",
    [
        ["migrate", "--no-such-option"],
        ["no-such-command"],
        ["retry", "x"],
        ["db", "nothing"],
        ["prune", "7"],
    ],
)
def test_what_the_command_line_refuses_is_noticed(arguments: list[str]) -> None:
    with pytest.raises(click.UsageError):
        parse(arguments)


def test_calls_are_found_in_pipes_redirections_and_containers() -> None:
    assert list(calls("FLOWSHIFT_NICE_RATIO=1 flowshift db role | psql -v role=x  # why")) == [
        ["db", "role"]
    ]
    assert list(calls("psql -c 'x' | flowshift convert > drafts.jsonl")) == [["convert"]]
    assert list(calls("docker compose run --rm -T cli migrate --bots-from - < bots.txt")) == [
        ["migrate", "--bots-from", "-"]
    ]


def slug(heading: str) -> str:
    return re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-")


def anchors(page: Path) -> set[str]:
    text = re.sub(
        r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE
    )
    return {slug(heading) for heading in re.findall(r"^#+ (.*)$", text, re.MULTILINE)}


@pytest.mark.parametrize(
    "page", [*FRONT, *GUIDES], ids=lambda page: page.relative_to(ROOT).as_posix()
)
def test_every_link_leads_to_a_file_and_a_heading(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        found = (page.parent / path).resolve() if path else page
        assert found.is_file(), f"{page.name}: {target}"
        assert not anchor or anchor in anchors(found), f"{page.name}: {target}"


def test_every_page_that_the_code_names_is_there() -> None:
    files = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    named = 0
    for name in files:
        path = ROOT / name
        if path.suffix not in (".py", ".yml", ".toml", ".md", ".example") or not path.is_file():
            continue
        for page in re.findall(r"\bdocs/[\w/-]+\.md\b", path.read_text(encoding="utf-8")):
            named += 1
            assert (ROOT / page).is_file(), f"{name} names {page}"
    assert named > 20


def test_every_page_is_in_the_index() -> None:
    index = (ROOT / "docs" / "index.md").read_text(encoding="utf-8")
    listed = set(re.findall(r"\]\(([^)#]+)\)", index))
    pages = {page.relative_to(ROOT / "docs").as_posix() for page in GUIDES}
    assert pages - {"index.md"} == listed


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").split()) <= 900
