"""The page of commands, from what `--help` says."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import click

from reference.page import page
from worker.cli import cli

WIDTH: Final = 100


def commands_page(group: click.Group = cli) -> str:
    """The help of every command."""
    parts = [
        f"## {path}\n\n```text\n{help_text}\n```" for path, help_text in _helps(group, "flowshift")
    ]
    return page(
        "Command line",
        "the commands in worker/cli/",
        "What `--help` says of each command. Exit codes are the same everywhere: 0 all good, 1 "
        "failures remain, 2 used wrongly, 3 the environment is not ready, 130 interrupted.",
        *parts,
    )


def _helps(
    command: click.Command, name: str, parent: click.Context | None = None
) -> Iterator[tuple[str, str]]:
    context = click.Context(
        command, parent, info_name=name, terminal_width=WIDTH, **command.context_settings
    )
    yield context.command_path, command.get_help(context).rstrip()
    if isinstance(command, click.Group):
        for below in sorted(command.list_commands(context)):
            found = command.get_command(context, below)
            assert found is not None  # noqa: S101  (it lists what it has)
            yield from _helps(found, below, context)
