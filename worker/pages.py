"""The pages of docs/ that the program knows better than a person: `python -m worker.pages docs/reference`.

Settings, states, codes, log events and the command line are read from where they are defined. With
`--check` nothing is written: the exit code is 1 where a page is not what it should be.
"""

from __future__ import annotations

import argparse
import ast
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import click
import msgspec

import migrations
import tasks
import worker
from worker.cli import cli
from worker.core import codes
from worker.core.policy import states
from worker.settings import PREFIX, Settings

WIDTH: Final = 100
NOTE: Final = "<!-- Written by `make docs`. Change the source it names, not this page. -->"
_LEVELS: Final = {name: name for name in ("debug", "info", "warning", "error")} | {
    "exception": "error"
}

EVENTS: Final[Mapping[str, str]] = {
    "environment.ignored": "variables of Celery or Flower, or injected by Kubernetes, that change nothing",
    "account.created": "root's started servers got a system account of their own",
    "account.not_created": "no such account could be made: the servers run as another one",
    "batch.converted": "a batch committed: the one line to count by",
    "batch.failed": "a batch was given up; `flowshift retry` takes its bots again",
    "batch.waited": "a batch may not begin yet: by the database's health, or its run's limits",
    "batch.faulted": "a batch stopped on an error that is no bot's (with its traceback)",
    "batch.halved": "the database refused a draft: the batch is halved to find which",
    "batch.left": "bots of a batch were locked or changed, or it took too long: new batches have them",
    "batch.handed_back": "a worker that stops gave its batch back: no loss",
    "batch.lost": "a batch lost its worker and is enqueued again, with how that ended",
    "batch.not_handed_back": "a worker that stops could not reach the database: its lease runs out",
    "batch.put_off": "a server was away for too long: the batch comes back in another delivery",
    "batch.split": "a batch lost two workers: it is halved to find the bot that kills them",
    "batch.unclaimed": "messages were lost: their batches are enqueued again",
    "batch.unrenewed": "a lease ran out, but its worker is still in its transaction: left alone",
    "batch.unsent": "Redis is away: the batch is done here, or given back",
    "batch.validated": "the same of a validation",
    "beat.sent": "the queue took a message of the beat's",
    "beat.unconnected": "the beat cannot connect to the queue; it goes on trying",
    "beat.unsent": "the queue did not take a message of the beat's; the next one gets a new connection",
    "binaries.copied": "the servers' programs were copied to where their account can read them",
    "bot.faulted": "one bot's conversion or saving stopped on an unexpected error",
    "bot.gave_up": "a bot that kills workers was found; it is `worker_lost` and the run goes on",
    "child.limited": "a process of a worker's pool began, with the memory that it may have",
    "child.lost": "a process of a worker's pool died while it worked, and how",
    "child.unreported": "and the database could not be told: its batch's lease runs out",
    "column.created": "an upgrade added a column to the platform's table",
    "column.dropped": "a downgrade dropped a column that an upgrade had added",
    "column.kept": "a downgrade left a column that holds data, or that others need",
    "data.placed": "the servers' data went elsewhere: their account cannot enter the data directory",
    "execution.kept": "the database does not let an old execution go: a prune passes it over",
    "flower_row.unsent": "a row of Flower's could not be sent; a run's is sent again later",
    "health.unread": "a health check cannot be read; it counts as `wait` after `FLOWSHIFT_UNREAD_S`",
    "flower.ready": "Flower listens: its address for a browser, and flowshift's version",
    "heartbeat.unwritten": "the database did not take a process's heartbeat (said once, not at each)",
    "index.building": "an upgrade has been building an index beside the traffic for more than 2 s",
    "index.created": "an index whose build took more than 2 s is built",
    "index.dropped": "an index was dropped: by a downgrade, or because its build had failed",
    "index.kept": "a downgrade left an index that something depends on",
    "lease.unrenewed": "the database was away when a lease was to be renewed; tried again",
    "keys.kept": "Redis is away: old keys stay until the next prune",
    "lock.waited": "an upgrade gave way to the platform's traffic and tries again",
    "message.refused": "what somebody put into the queue is no message of ours: it is gone",
    "orphan.signalled": "a server that nobody watched any more was told to end",
    "partition.dropped": "a partition older than the cut-off was detached and dropped",
    "partition.kept": "an old partition could not be dropped: its rows are deleted instead",
    "partition.needed": "an old partition holds rows that stay",
    "partition.waited": "a partition's table was busy, or does not allow it (by the SQLSTATE)",
    "process.died": "a process of `flowshift up` ended and is started again",
    "process.killed": "a process did not stop in time",
    "process.useless": "a process of `flowshift up` lives without working, and is started again: why",
    "heartbeats.unread": "`flowshift up` cannot read the heartbeats: nothing is restarted for them",
    "process.started": "a process of `flowshift up` was started",
    "progress.unpublished": "Redis is away: progress is published again later",
    "provider.failed": "a model's provider gave no answer: the next one is asked",
    "provider.rested": "a provider failed too often, or asked for it: others are asked before it",
    "run.closed": "a run was over and nobody had finished it",
    "prune.finished": "a prune is over: what is gone, by kind; also in the audit trail",
    "prune.reconnected": "a prune lost its connection, or the database was away: it goes on with a new one",
    "prune.slowed": "a batch took too long, or a row was locked or refused: it is tried again smaller",
    "prune.waited": "a health check makes a prune wait",
    "queue.unread": "an idle worker could not ask the queue whether messages wait",
    "queue.stumbled": "what was in the queue is no message at all: it is gone, the worker connects anew",
    "run.finished": "a run is over",
    "run.planned": "every bot of a run is in a batch (numbers of the last planning step)",
    "run.put_off": "the database was away for too long: a sweep has the run planned again",
    "run.refused": "a message to `flowshift.migrate` asked for what cannot be done",
    "run.resumed": "a person let a paused run go on",
    "run.stopped": "a run was paused or cancelled: by a person, its failures or a health check",
    "run.tuned": "a person changed the limits of a run",
    "run.replanned": "nobody was planning a run: its planning is enqueued again",
    "run.unplanned": "a run could not be split into batches and is `failed` (with its traceback)",
    "run.unreported": "the database is away: runs without a worker are shown later",
    "run.unsent": "the queue is away: a sweep sends the planning of the run again",
    "server.died": "a started PostgreSQL or Redis ended",
    "server.restarted": "and was started again",
    "server.slow_to_stop": "a started server did not end in time and gets a stronger signal",
    "servers.failed": "the started servers cannot run (with the traceback)",
    "servers.hindered": "the guardian of the started servers could not write or start one; it goes on",
    "servers.started": "the started servers answer",
    "servers.stopped": "the started servers have ended",
    "servers.unhindered": "and now it could: the disk had been full, for one",
    "sweep.put_off": "the database was away: the next sweep does it",
    "table.adopted": "an upgrade found one of the platform's tables and added what it lacked",
    "table.created": "an upgrade created a table",
    "table.dropped": "a downgrade dropped a table that an upgrade had created",
    "table.kept": "a downgrade left a table that was there before, or holds rows",
    "task.stale": "a message came late or twice: there was nothing left to do",
    "task.waited": "a server was away: the task waits and tries again",
}
"""Every event that is logged, and what it means. A test holds it against the code."""

# Named by a variable where they are logged, so that reading the code does not find all of them.
_KEYS_NAMED_AT_RUN_TIME: Final[Mapping[str, tuple[str, ...]]] = {
    "column.dropped": ("column",),
    "column.kept": ("column", "reason"),
    "table.dropped": ("table",),
    "table.kept": ("table", "reason"),
}


class Event(msgspec.Struct, frozen=True):
    """A line of a log, as the code writes it."""

    name: str
    level: str
    keys: tuple[str, ...]


def pages() -> dict[str, str]:
    """Every generated page by its file name."""
    return {
        "settings.md": settings_page(),
        "states.md": states_page(),
        "codes.md": codes_page(),
        "events.md": events_page(),
        "commands.md": cli_page(cli),
    }


def outdated(directory: Path) -> list[str]:
    """The names of the pages in `directory` that are missing or not what they should be."""
    return [
        name
        for name, text in pages().items()
        if not (directory / name).exists() or (directory / name).read_text(encoding="utf-8") != text
    ]


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the pages, or compare them; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m worker.pages", description=__doc__)
    parser.add_argument("directory", type=Path)
    parser.add_argument("--check", action="store_true", help="Compare, and write nothing.")
    given = parser.parse_args(arguments)
    if not given.check:
        given.directory.mkdir(parents=True, exist_ok=True)
        for name, text in pages().items():
            (given.directory / name).write_text(text, encoding="utf-8")
        return 0
    stale = outdated(given.directory)
    for name in stale:
        sys.stderr.write(f"{given.directory / name} is out of date: run `make docs`\n")
    return 1 if stale else 0


# -- settings --------------------------------------------------------------------------------------


def settings_page() -> str:
    """Every setting, from the class that reads them."""
    schema = msgspec.json.schema(Settings)["$defs"]["Settings"]["properties"]
    rows = [
        (
            f"`{PREFIX}{name.upper()}`",
            _kind(described),
            _default(described["default"]),
            described["description"],
        )
        for name, described in schema.items()
    ]
    return _page(
        "Settings",
        "worker/settings.py",
        "Settings are environment variables, read once when a process starts. An empty value counts "
        "as not set. A name that does not exist, or a value that does not fit, stops the process "
        "with exit code 3 and one line that names the variable; URLs and passwords are never "
        "repeated.",
        _table(("variable", "value", "default", "meaning"), rows),
        f"Without `{PREFIX}DATA_DIR` the data directory is the user's data folder "
        "(`~/.local/share/flowshift` on Linux). "
        "[Run the processes](../how-to/processes.md#the-data-directory) says what is in it.",
    )


def _kind(described: Mapping[str, Any]) -> str:
    """What a setting takes, from its JSON schema.

    >>> _kind({"type": "integer", "minimum": 1, "maximum": 10000})
    'whole number, 1 to 10,000'
    >>> _kind({"enum": ["auto", "json"]})
    '`auto`, `json`'
    """
    if "enum" in described:
        return ", ".join(f"`{value}`" for value in sorted(described["enum"]))
    if described["type"] in ("integer", "number"):
        kind = "whole number" if described["type"] == "integer" else "number"
        low, high = described["minimum"], described.get("maximum")
        upper = f"{low:,} or more" if high is None else f"{low:,} to {high:,}"
        return f"{kind}, {upper}"
    if "pattern" in described:
        return f"text like `{described['pattern']}`"
    return "text, not empty" if described.get("minLength") else "text"


def _default(value: object) -> str:
    return "(empty)" if value == "" else f"`{value}`"


# -- states ----------------------------------------------------------------------------------------


def states_page() -> str:
    """The states of runs and batches, from the tables of legal transitions."""
    over = [f"`{state}`" for state in states.RUN_STATES if state in states.OVER]
    return _page(
        "States",
        "worker/core/policy/states.py",
        "A run is one conversion of a fleet that somebody asked for; a batch is a slice of it, one "
        "Celery task. Both change state only along the arrows below: the code names the states that "
        "an UPDATE leaves, and CHECK constraints hold the words in the database.",
        "## Runs",
        _diagram(states.RUN_TRANSITIONS, states.RUN_STATES),
        f"Over, so that nothing changes any more: {', '.join(over)}.",
        _transitions(states.RUN_TRANSITIONS),
        "## Batches",
        _diagram(states.BATCH_TRANSITIONS, states.BATCH_STATES),
        _transitions(states.BATCH_TRANSITIONS),
    )


def _transitions(transitions: Mapping[Any, str]) -> str:
    rows = [(f"`{old}`", f"`{new}`", reason) for (old, new), reason in transitions.items()]
    return _table(("from", "to", "because"), rows)


def _diagram(transitions: Mapping[Any, str], names: Sequence[str]) -> str:
    left, entered = ({pair[end] for pair in transitions} for end in (0, 1))
    lines = ["```mermaid", "stateDiagram-v2", f"    [*] --> {names[0]}"]
    lines += [f"    {old} --> {new}" for old, new in transitions]
    lines += [f"    {name} --> [*]" for name in names if name in entered and name not in left]
    return "\n".join([*lines, "```"])


# -- codes -----------------------------------------------------------------------------------------


def codes_page() -> str:
    """Outcomes and codes with their meanings."""
    return _page(
        "Outcomes, codes and warnings",
        "worker/core/codes.py",
        "Each run records exactly one outcome for each bot it takes, with a code where the outcome "
        "is `skipped` or `failed`. `flowshift show BOT` prints them with the message and the "
        "warnings; the table is `flowshift.ledger`.",
        "## Outcomes",
        _meanings(codes.OUTCOMES),
        "## Why a bot was skipped",
        _meanings(codes.SKIP_CODES),
        "## Why a bot failed",
        "Where several apply, the first in this order counts, and the message names the others. "
        "*Retry* is `flowshift retry RUN`, or `flowshift retry RUN --code CODE`.",
        _meanings(codes.FAILURE_CODES),
        "## Warnings",
        "A warning is a place where the draft says something that V1's picture did not show. The "
        "bot is converted all the same. [Conversion](../explanation/conversion.md) shows them at work.",
        _meanings(codes.WARNING_CODES),
    )


def _meanings(names: Iterable[str]) -> str:
    rows = [(f"`{name}`", codes.MEANINGS[name], codes.REMEDIES[name]) for name in names]
    return _table(("code", "meaning", "what to do"), rows)


# -- log events ------------------------------------------------------------------------------------


def events_page() -> str:
    """The log events, read from the code that writes them."""
    rows = [
        (
            f"`{event.name}`",
            event.level,
            ", ".join(f"`{key}`" for key in event.keys) or "–",
            EVENTS[event.name],
        )
        for event in logged_events()
    ]
    return _page(
        "Log events",
        "the calls of `log` in the code, and EVENTS in worker/pages.py",
        "One JSON object a line on standard error (or readable lines on a terminal, see "
        "`FLOWSHIFT_LOG_FORMAT`). Every line has `event`, `logger`, `level` and `timestamp` (UTC). "
        "Lines of a task also have `task` and, where they belong to one, `run_id` and `batch`. "
        "Lines never hold a workflow, a prompt or a password. Celery's, Alembic's, SQLAlchemy's "
        "and Flower's own lines, and Python's warnings, are in the same form, with a sentence as "
        "the event.",
        _table(("event", "level", "keys", "meaning"), rows),
    )


def logged_events() -> list[Event]:
    """Every event that the code logs, by name; one logged in several places has all their keys."""
    found: dict[str, Event] = {}
    named = [Event(name, "info", keys) for name, keys in _KEYS_NAMED_AT_RUN_TIME.items()]
    for event in (*_events_in_code(), *named):
        known = found.get(event.name, event)
        keys = dict.fromkeys((*known.keys, *event.keys))
        found[event.name] = Event(event.name, known.level, tuple(keys))
    return sorted(found.values(), key=lambda event: event.name)


def _events_in_code() -> Iterator[Event]:
    for package in (worker, tasks, migrations):
        for path in sorted(Path(package.__path__[0]).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if (event := _event(node)) is not None:
                    yield event


def _event(node: ast.AST) -> Event | None:
    """The event that a call such as `log.info("run.planned", run_id=…)` writes."""
    match node:
        case ast.Call(
            func=ast.Attribute(value=ast.Name(id="log"), attr=method),
            args=[ast.Constant(value=str(name)), *_],
            keywords=keywords,
        ) if method in _LEVELS:
            keys = tuple(key for keyword in keywords for key in _keys(keyword))
            return Event(name, _LEVELS[method], keys)
    return None


def _keys(keyword: ast.keyword) -> Iterator[str]:
    """The key of `name=…`; of `**{f"bots_{name}": …}` the part that is known, and a dash."""
    if keyword.arg is not None:
        yield keyword.arg
        return
    for node in ast.walk(keyword.value):
        match node:
            case ast.JoinedStr(values=[ast.Constant(value=str(known)), *_]):
                yield f"{known}…"


# -- command line ----------------------------------------------------------------------------------


def cli_page(group: click.Group) -> str:
    """The help of every command."""
    parts = [
        f"## {path}\n\n```text\n{help_text}\n```" for path, help_text in _helps(group, "flowshift")
    ]
    return _page(
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


# -- writing ---------------------------------------------------------------------------------------


def _page(title: str, source: str, *parts: str) -> str:
    return "\n\n".join([f"# {title}", f"{NOTE}\n<!-- Source: {source} -->", *parts]) + "\n"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table in Markdown.

    >>> print(_table(("a", "b"), [("1", "x|y")]))
    | a | b |
    | --- | --- |
    | 1 | x\\|y |
    """
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(
        f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines
    )


if __name__ == "__main__":
    sys.exit(main())
