"""Commands about the database: db upgrade, db downgrade, db check, db role."""

from __future__ import annotations

import logging
from importlib import resources

import click

from migrations import upgrade as schema
from worker import log
from worker.cli.arguments import TEXT
from worker.cli.printing import Console, Text, confirm, console, print_json, say, say_lines
from worker.cli.session import configure_logging, opened
from worker.db.schema.check import TableReport
from worker.steps.attempt import Answer, Attempt
from worker.steps.examine import Examination, examine


@click.group()
def db() -> None:
    """Create, adopt and check the database's tables."""


@db.command()
@click.option("--revision", type=TEXT, default="head", show_default=True, help="How far.")
@click.option(
    "--sql", "as_sql", is_flag=True, help="Print what it would do, as SQL; execute nothing."
)
@click.option(
    "--create",
    is_flag=True,
    help="Create the platform's tables even where others look like them.",
)
def upgrade(*, revision: str, as_sql: bool, create: bool) -> int:
    """Create the tables, or adopt a platform's that are there: only what is missing is added.

    Indexes on big tables are built without blocking writes. The same as `alembic upgrade head`.

    With --sql it looks at the database and prints the statements that it would execute there now, for
    an administrator to read and run: flowshift db upgrade --sql > upgrade.sql
    """
    configure_logging()
    if not as_sql:
        logging.getLogger(log.UPGRADE_WAITS).setLevel(logging.INFO)
    with opened(needs_redis=False, needs_tables=False) as current:
        if as_sql:
            say_lines(schema.upgrade_sql(current.engine, revision, create=create))
            return 0
        schema.upgrade(current.engine, revision, create=create)
        say(f"the database is at revision {schema.current(current.engine)}")
    return 0


@db.command()
@click.argument("revision", type=TEXT)
@click.option("--yes", "-y", is_flag=True, help="Do not ask.")
@click.option(
    "--drop-backups", is_flag=True, help="Let go of backups that only flowshift.backups has."
)
def downgrade(*, revision: str, drop_backups: bool, yes: bool) -> int:
    """Take the tables down to REVISION, or to `base`.

    What was adopted stays, and so do tables of the platform's that hold rows. What is flowshift's
    own (runs, outcomes, audit) goes; but nothing does while flowshift.backups holds the only backup of
    a bot's V1. It asks first; a script says --yes.
    """
    configure_logging(verbose=True)
    with opened(needs_redis=False, needs_tables=False) as current:
        at = schema.current(current.engine) or "base"
        confirm(
            f"Take the tables down from revision {at} to {revision}? flowshift's own records may go.",
            yes=yes,
        )
        schema.downgrade(current.engine, revision, drop_backups=drop_backups)
        say(f"the database is at revision {schema.current(current.engine) or 'base'}")
    return 0


@db.command("check")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, for scripts.")
@click.option(
    "--try/--no-try",
    "tries",
    default=None,
    help="Try writes, or only read the catalogue. By default it tries, but not where a trigger may act"
    " outside the database.",
)
def check_command(*, as_json: bool, tries: bool | None) -> int:
    """Say table by table what is there, what is missing, and whether the database is ready.

    Reads the catalogue, then does on up to 20 bots what a batch does, as the role that is connected,
    in a transaction that is rolled back: run it as the role of the workers. Changes nothing. Bots in
    use are passed over, and no lock is waited for longer than 0.2 s.

    The exit code is 0 if it is ready, 3 if not.
    """
    configure_logging()
    with opened(needs_redis=False, needs_tables=False) as current:
        found = examine(
            current.engine,
            current.defaults,
            current.echo,
            revisions=schema.revisions(),
            backup=current.settings.backup,
            tries=tries,
        )
    if as_json:
        print_json(found)
    else:
        _print(found)
    return 0 if found.ready else 3


@db.command("role")
def role_command() -> None:
    """Print the SQL that makes a role with the rights of workers and commands, and no others.

    An administrator runs it after each upgrade: flowshift db role | psql -v role=NAME DATABASE
    """
    say_lines((resources.files("migrations") / "role.sql").read_text("utf-8"))


def _print(readiness: Examination) -> None:
    out = console()
    for report in readiness.tables:
        found = Text("there", "green") if report.present else Text("missing", "red")
        out.print(Text(f"{report.owner:<10}{report.name:<28}"), found, sep="")
        for line in _details(report):
            out.print(Text(f"{'':<10}{line}", "yellow"))
    if readiness.attempt is not None:
        _print_attempt(out, readiness.attempt)
    revision = readiness.revision or "none"
    out.print(f"revision {revision}, newest {readiness.newest_revision}", markup=False)
    for note in readiness.notes:
        out.print(Text(f"- {note}", "yellow"))
    for problem in readiness.problems:
        out.print(Text(f"- {problem}", "red"))
    out.print(Text("ready", "bold green") if readiness.ready else Text("not ready", "bold red"))


def _print_attempt(out: Console, attempt: Attempt) -> None:
    as_role = f" as {attempt.role}" if attempt.role else ""
    if attempt.untried is not None:
        out.print(Text(f"nothing was tried on real bots{as_role}: {attempt.untried}", "yellow"))
    else:
        out.print(Text(f"tried on {attempt.bots} bots{as_role}, and rolled back:"))
    for answer in attempt.answers:
        out.print(
            Text(f"{'':<10}{answer.table:<28}{answer.rows} × {answer.action}: "),
            _said(answer),
            sep="",
        )


def _said(answer: Answer) -> Text:
    if answer.refused is not None:
        return Text(answer.refused, "red")
    if answer.undecided is not None:
        return Text(f"not known: {answer.undecided}", "yellow")
    return Text("works", "green")


def _details(report: TableReport) -> list[str]:
    lines = [f"column {name} is missing" for name in report.missing_columns]
    lines += [f"index {name} is missing" for name in report.missing_indexes]
    return [*lines, *report.notes]
