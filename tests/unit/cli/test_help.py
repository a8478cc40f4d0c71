"""What `--help` of every command holds: an example that can be typed, every default, and its width."""

from __future__ import annotations

import io
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import click
import pytest

from tests.unit.test_docs import parse
from worker.cli import cli

ROOT = Path(__file__).parents[3]
COMPLETION = ROOT / "docs" / "how-to" / "completion.md"
WIDTH = 80


def contexts(
    command: click.Command = cli, name: str = "flowshift", parent: click.Context | None = None
) -> Iterator[click.Context]:
    """Every command, the groups included."""
    context = click.Context(
        command, parent, info_name=name, terminal_width=WIDTH, **command.context_settings
    )
    yield context
    if isinstance(command, click.Group):
        for below in command.list_commands(context):
            found = command.get_command(context, below)
            assert found is not None
            yield from contexts(found, below, context)


EVERY = list(contexts())
BELOW = [context for context in EVERY if context.parent is not None]
every = pytest.mark.parametrize("context", EVERY, ids=lambda context: context.command_path)
below = pytest.mark.parametrize("context", BELOW, ids=lambda context: context.command_path)


def examples(context: click.Context) -> list[list[str]]:
    """The arguments of each example of a command."""
    _, _, after = context.command.get_help(context).partition("  Examples:\n")
    block, _, _ = after.partition("\n\n")
    found = []
    for line in block.splitlines():
        if call := re.search(r"(?:^|\| ) *(flowshift [^|>#]*)", line):
            found.append(shlex.split(call[1])[1:])
    return found


def options(context: click.Context) -> list[click.Option]:
    found = context.command.get_params(context)
    return [one for one in found if isinstance(one, click.Option)]


@below
def test_each_command_has_an_example_of_itself_that_parses(
    context: click.Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(), encoding="utf-8"))
    path = context.command_path.split()[1:]
    calls = examples(context)
    assert any(call[: len(path)] == path for call in calls)
    for call in calls:
        with suppress(click.exceptions.Exit):  # an example of --help
            parse(call)


@below
def test_each_option_that_takes_a_value_shows_its_default(context: click.Context) -> None:
    for option in options(context):
        record = option.get_help_record(context)
        assert record is not None
        assert option.is_flag or re.search(r"\[default: [^\];]", record[1]), option.name


@below
def test_each_option_says_what_it_does(context: click.Context) -> None:
    for option in options(context):
        record = option.get_help_record(context)
        assert record is not None
        assert re.match(r"\w", record[1]), option.name


@every
def test_no_line_is_wider_than_a_terminal_of_80_columns(context: click.Context) -> None:
    for line in context.command.get_help(context).splitlines():
        assert len(line) <= WIDTH, line


@every
def test_no_summary_of_a_command_is_cut(context: click.Context) -> None:
    assert "..." not in context.command.get_help(context).replace("[ARGS]...", "")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_is_documented_as_it_works(shell: str) -> None:
    (line,) = re.findall(rf"`([^`]*=({shell})_source[^`]*)`", COMPLETION.read_text("utf-8"))
    done = subprocess.run(
        [sys.executable, "-m", "worker"],
        env={**os.environ, "_FLOWSHIFT_COMPLETE": f"{line[1]}_source"},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "flowshift" in done.stdout
    assert f"{shell}_complete" in done.stdout


def test_publish_takes_no_bots_unless_they_are_named() -> None:
    [publish] = [context for context in BELOW if context.info_name == "publish"]
    shown = {one.name: one.show_default for one in options(publish)}
    assert (shown["bot_ids"], shown["bots_from"]) == ("none", "none")
