"""Hostile texts in every column that holds text, and every command of the command line over them.

Commands are found by walking the command line, so that a new one is tested as soon as it is there.
"""

from __future__ import annotations

import json
import re
import sys
import unicodedata
from collections.abc import Iterator
from typing import Any

import click
import pytest
import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError

from tests.fleet import Fleet, a_broken_workflow, a_workflow
from tests.integration.conftest import Run
from worker import runtime
from worker.cli import cli
from worker.db.models import OUR_TABLES, PLATFORM_TABLES
from worker.servers.connect import Servers
from worker.settings import Settings

EVIL = (
    "e\x1b[2J\x1b]0;t\x07\x1b[38;5;201mx\r\n\x08\x0b\x7f\x85\x9b\u2028\u2029\u202e\u2066\u200b\u200d"
    "\u2060\ufeff\u00ad\u3164\U000e0041\nFORGED[bold red]MARK[/bold red][/][link=http://x]y[/link]:skull:"
)
EVIL_ID = "\x1b[2J\r\nFORGED\u202e\u200b[bold red]MARK[/]:skull:"
"""Fits 50 characters."""

# What Rich itself sends to a terminal: colours, and the cursor's way back over a bar.
_RICH = re.compile(r"\x1b\[(?!38;5;201)[0-9;]*m|\r?\x1b\[2K|\x1b\[1A|\x1b\[\?25[lh]|\r(?=\x1b)")

NEVER_END = {("up",), ("flower",), ("serve",), ("demo",)}
LAST = (("resume",), ("cancel",), ("prune",), ("db", "upgrade"), ("db", "downgrade"))
"""What changes what the others look at; in this order."""


@pytest.fixture
def fleet(settings: Settings) -> Iterator[Fleet]:
    """A fleet in which everything that can be has a hostile name."""
    current = runtime.Runtime(settings, Servers(settings.database_url, settings.redis_url))
    fleet = Fleet(current)
    workflow = a_workflow(prompt=f"{{context}}{{query}}{EVIL}", model=EVIL, provider=EVIL)
    workflow["nodes"][1]["id"] = f"k.{EVIL}"
    for edge in workflow["edges"]:
        edge.update({end: f"k.{EVIL}" for end in ("source", "target") if edge[end] == "k"})
    workflow["nodes"][2]["data"][EVIL] = {EVIL: EVIL}
    unknown = a_workflow()
    unknown["nodes"][1]["type"] = EVIL
    fleet.add(EVIL_ID, workflow)
    fleet.add(EVIL_ID + "2", unknown)
    fleet.add(EVIL_ID + "3", a_broken_workflow())
    fleet.add(EVIL_ID + "4", a_workflow())
    fleet.run(validate="all", messages=(EVIL,))
    edited = fleet.drafts()[EVIL_ID + "4"]
    edited["nodes"][2]["data"]["prompt_template"] = EVIL
    fleet.set_draft(EVIL_ID + "4", edited)
    fleet.run(kind="validate", of_run=1, messages=(EVIL,))
    fleet.run(dry_run=True, bot_ids=(EVIL_ID + "2",))
    fleet.planned(bot_ids=(EVIL_ID, EVIL_ID + "3"))  # the latest, and at work
    spoil(fleet)
    yield fleet
    current.close()


def spoil(fleet: Fleet) -> None:
    """Put hostile text wherever a column takes it: what refuses it keeps what it has."""
    for table in (*PLATFORM_TABLES, *OUR_TABLES):
        name = table.fullname
        for column in table.columns:
            if isinstance(column.type, sa.String) and column.name not in ("bot_id", "sha"):
                length = getattr(column.type, "length", None) or 1_000
                for value in (f"left(:evil, {length})", f"left(ctid::text || :evil, {length})"):
                    if attempt(fleet, f"UPDATE {name} SET {column.name} = {value}", evil=EVIL):
                        break
    changes: list[tuple[str, Any]] = [
        (
            "UPDATE flowshift.batches SET codes = codes || CAST(:evil AS jsonb)",
            {f"{outcome}:{EVIL}": 1 for outcome in ("failed", "skipped")},
        ),
        ("UPDATE flowshift.ledger SET code = 'cycle' WHERE outcome = 'failed'", None),
        (
            """UPDATE flowshift.audit SET detail = CAST(:evil AS jsonb), action = 'run.tuned'
            WHERE id % 2 = 0""",
            {EVIL: [EVIL, EVIL]},
        ),
        ("UPDATE workflow_node_executions SET inputs = CAST(:evil AS jsonb)", {EVIL: EVIL}),
        ("UPDATE workflow_execution_runs SET outputs = CAST(:evil AS jsonb)", {EVIL: {EVIL: EVIL}}),
        ("UPDATE bot_workflow_versions SET status = 'draft', version = 'draft'", None),
    ]
    for statement, value in changes:
        fleet.execute(statement, **({} if value is None else {"evil": json.dumps(value)}))


def attempt(fleet: Fleet, statement: str, **values: Any) -> bool:
    try:
        fleet.execute(statement, **values)
    except DBAPIError:
        return False
    return True


def leaves(group: click.Group, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for name in group.list_commands(click.Context(group)):
        command = command_at((*path, name))
        if isinstance(command, click.Group):
            yield from leaves(command, (*path, name))
        else:
            yield (*path, name)


def command_at(path: tuple[str, ...]) -> click.Command:
    found: click.Command | None = cli
    for name in path:
        assert isinstance(found, click.Group)
        found = found.get_command(click.Context(found), name)
    assert found is not None
    return found


def in_order() -> list[tuple[str, ...]]:
    found = [path for path in leaves(cli) if path not in NEVER_END]
    return sorted(found, key=lambda path: (LAST.index(path) + 1 if path in LAST else 0, path))


def calls(path: tuple[str, ...], execution_id: str) -> Iterator[list[str]]:
    """How a command is called: as its parameters say, and wrongly."""
    command = command_at(path)
    options = {option for param in command.params for option in param.opts}
    required = [param for param in command.params if isinstance(param, click.Argument)]
    given: list[list[str]] = [[]]
    for argument in required:
        label = (argument.metavar or argument.name or "").strip("[]").lower()
        values = {
            "run": ["1", "2", "3"] if path == ("watch",) else ["1", "2", "3", "4"],
            "bot": [EVIL_ID, EVIL_ID + "2", EVIL_ID + "4"],
            "bot|run": [EVIL_ID, "1", "2"],
            "id": [execution_id],
            "revision": ["0001"],
            "version": ["draft", EVIL_ID],
        }.get(label, [])
        if values:
            given = [[*one, value] for one in given for value in values]
    always = ["--yes"] if "--yes" in options else []
    always += ["--detach"] if "--detach" in options else []
    always += ["--max-rate", "9"] if path == ("tune",) else []
    variants: list[list[str]] = [[]]
    flags = ("--json", "--csv", "--verbose", "--full", "--fleet", "--dry-run", "--failed")
    variants += [[flag] for flag in flags if flag in options]
    for variant in variants:
        for one in given:
            yield [*path, *one, *always, *variant]
    if path == ("watch",):
        return  # what follows would watch the latest run, which does not end
    for option in sorted(options):
        yield [*path, option, EVIL_ID, *always]  # where it takes none, too much
    yield [*path, EVIL_ID, EVIL_ID, EVIL_ID]
    yield [*path, f"--{EVIL_ID}"]


def check(out: str, terminal: bool, call: list[str]) -> None:
    shown = _RICH.sub("", out) if terminal else out
    if "--csv" in call:
        shown = shown.replace("\r\n", "\n")
    for character in shown:
        category = unicodedata.category(character)
        hides = category in ("Cc", "Cf", "Cs", "Co", "Zl", "Zp") or character == "\u3164"
        assert not hides or character == "\n", (call, hex(ord(character)), shown)
    assert not re.search("^FORGED", shown, re.MULTILINE), (call, shown)
    assert "💀" not in shown, call
    assert shown.count("MARK") == shown.count("[bold red]MARK"), (call, shown)


@pytest.mark.unmeasured
@pytest.mark.timeout(600)
@pytest.mark.parametrize("terminal", [False, True])
def test_no_command_lets_a_hostile_text_act_on_a_terminal(
    fleet: Fleet, flowshift: Run, monkeypatch: pytest.MonkeyPatch, terminal: bool
) -> None:
    for name, value in (
        ("COLUMNS", "9000"),
        ("TERM", "xterm-256color"),
        ("FLOWSHIFT_LOG_FORMAT", "auto"),
    ):
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("worker.cli.printing.PIPE_WIDTH", 9_000)  # no mark is folded
    for stream in (sys.stdout, sys.stderr):
        monkeypatch.setattr(stream, "isatty", lambda: terminal, raising=False)
    execution_id = str(fleet.rows("SELECT id FROM workflow_execution_runs LIMIT 1")[0].id)
    line = json.dumps(
        {"message": EVIL, "workflow": a_workflow(prompt=EVIL, model=EVIL), EVIL: EVIL}
    )
    showing = 0
    for path in in_order():
        for call in calls(path, execution_id):
            code, out, err = flowshift(*call, stdin=f"{line}\n".encode())
            assert code in (0, 1, 2, 3), (call, code, err)
            assert "Traceback" not in err, (call, err)
            check(err, terminal, call)
            if path in (("convert",), ("trace",)) and not terminal:
                continue  # exact bytes, which json.dumps has escaped
            check(out, terminal, call)
            if "--json" in call and out:
                json.loads(out)
            showing += "\\x1b[2J" in out or "\\u001b[2J" in out
    assert showing > 20
