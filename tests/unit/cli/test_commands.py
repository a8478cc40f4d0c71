"""The table of commands: complete, and what `--help` and completion need is all that they load."""

from __future__ import annotations

import json
import os
import pkgutil
import subprocess
import sys
from importlib import import_module

import click
import click.testing
import pytest

import worker.cli
from worker.cli import cli
from worker.cli.commands import ENTRIES, SECTIONS, load

HEAVY = {"alembic", "celery", "kombu", "msgspec", "psycopg", "redis", "rich", "sqlalchemy", "tasks"}


@pytest.mark.parametrize("name", ENTRIES)
def test_each_command_is_where_the_table_says(name: str) -> None:
    assert load(name).name == name


def test_every_command_is_in_the_table() -> None:
    written = {
        id(command): command.name
        for module in pkgutil.iter_modules(worker.cli.__path__, "worker.cli.")
        for command in vars(import_module(module.name)).values()
        if isinstance(command, click.Command)
    }
    for command in map(load, ENTRIES):
        written.pop(id(command))
        for inside in command.commands.values() if isinstance(command, click.Group) else ():
            written.pop(id(inside), None)
    assert not written
    assert sum(len(section) for section in SECTIONS.values()) == len(ENTRIES)


@pytest.mark.parametrize("name", ENTRIES)
def test_each_summary_fits_its_line(name: str) -> None:
    lines = click.testing.CliRunner().invoke(cli, ["--help"], terminal_width=80).output.splitlines()
    (line,) = (line for line in lines if line.startswith(f"  {name} "))
    assert line.endswith(ENTRIES[name].summary)


@pytest.mark.parametrize(
    ("arguments", "variables"),
    [
        (["--help"], {}),
        (["--version"], {}),
        (
            [],
            {
                "_FLOWSHIFT_COMPLETE": "bash_complete",
                "COMP_WORDS": "flowshift mi",
                "COMP_CWORD": "1",
            },
        ),
    ],
    ids=["help", "version", "completion"],
)
def test_help_version_and_completion_load_no_command(
    arguments: list[str], variables: dict[str, str]
) -> None:
    script = (
        "import atexit, json, sys\n"
        "atexit.register(lambda: print(json.dumps([*sys.modules]), file=sys.stderr))\n"
        "sys.argv = ['flowshift', *sys.argv[1:]]\n"
        "from worker.__main__ import main; main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, *arguments],
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout
    loaded = {name.partition(".")[0] for name in json.loads(done.stderr.splitlines()[-1])}
    assert not loaded & HEAVY


def test_pydantic_is_loaded_where_a_configuration_is_read_and_not_before() -> None:
    script = (
        "import sys, tasks, worker.cli.show, worker.cli.migrate, worker.core.workflow.config\n"
        "assert 'pydantic' not in sys.modules\n"
        "worker.core.workflow.config.knowledge({}, print)\n"
        "assert 'pydantic' in sys.modules"
    )
    subprocess.run([sys.executable, "-c", script], check=True)


def test_completion_names_the_commands_and_what_they_do() -> None:
    context = click.Context(cli, info_name="flowshift")
    found = {item.value: item.help for item in cli.shell_complete(context, "re")}
    assert found == {name: ENTRIES[name].summary for name in ("restore", "resume", "retry")}
