"""Commands about the database: db upgrade, db downgrade, db check, db role."""

from __future__ import annotations

import logging
from importlib import resources

import click

from migrations import known
from migrations import upgrade as schema
from worker import log
from worker.cli.arguments import TEXT
from worker.cli.options import json_option, yes_option
from worker.cli.printing import confirm, console, print_json, say, say_lines
from worker.cli.session import configure_logging, opened
from worker.cli.views.readiness import print_readiness
from worker.steps.readiness import check_readiness


@click.group()
def db() -> None:
    """Check, create and adopt the database's tables.

    \b
    Examples:
      flowshift db check      # what is there, what is missing
      flowshift db upgrade    # create or adopt the tables
    """


@db.command(short_help="Create the tables, or adopt the platform's.")
@click.option(
    "--revision", type=TEXT, metavar="REVISION", default="head", help="Upgrade to this revision."
)
@click.option("--sql", "as_sql", is_flag=True, help="Print the SQL and execute nothing.")
@click.option(
    "--create",
    is_flag=True,
    help="Create the platform's tables even if other tables look like them.",
)
def upgrade(*, revision: str, as_sql: bool, create: bool) -> int:
    """Create the tables, or adopt the platform's: only what is missing is added.

    Indexes on big tables are built without blocking writes. `alembic upgrade head` does the same.

    With --sql the command reads the database and prints the statements that it would execute now,
    for an administrator to read and run.

    \b
    Examples:
      flowshift db upgrade
      flowshift db upgrade --sql > upgrade.sql
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


@db.command(short_help="Take the tables down to an earlier revision.")
@click.argument("revision", type=TEXT)
@yes_option
@click.option(
    "--drop-backups",
    is_flag=True,
    help="Also drop backups of V1 that only flowshift.backups has.",
)
def downgrade(*, revision: str, drop_backups: bool, yes: bool) -> int:
    """Take the tables down to REVISION, or to `base`.

    Adopted tables stay, and so do tables of the platform that hold rows. flowshift's own tables go:
    runs, outcomes, the audit trail. Nothing is dropped while flowshift.backups holds the only backup
    of a bot's V1. The command asks first; in a script, use --yes.

    \b
    Examples:
      flowshift db downgrade 0008
      flowshift db downgrade base --yes
    """
    configure_logging(verbose=True)
    with opened(needs_redis=False, needs_tables=False) as current:
        at = schema.current(current.engine) or "base"
        confirm(
            f"Take the tables down from revision {at} to {revision}? flowshift's records may be deleted.",
            yes=yes,
        )
        schema.downgrade(current.engine, revision, drop_backups=drop_backups)
        say(f"the database is at revision {schema.current(current.engine) or 'base'}")
    return 0


@db.command("check", short_help="Show what is there and what is missing.")
@json_option
@click.option(
    "--try/--no-try",
    "tries",
    default=None,
    show_default="--try, unless a trigger may act outside the database",
    help="Try writes, or only read.",
)
def check_command(*, as_json: bool, tries: bool | None) -> int:
    """Show table by table what is there and what is missing, and whether the database is ready.

    The command reads the catalogue, and names bots with several published versions, which the platform
    may fail to read. Then it does on up to 20 bots what a batch does, as the
    connected role, in a transaction that it rolls back: run it as the role of the workers. It
    changes nothing, leaves out bots in use, and waits for no lock longer than 0.2 s.

    The exit code is 0 if the database is ready, 3 if not.

    \b
    Examples:
      flowshift db check
      flowshift db check --no-try --json
    """
    configure_logging()
    with opened(needs_redis=False, needs_tables=False) as current:
        found = check_readiness(
            current.engine,
            current.defaults,
            current.echo_for,
            target=current.settings.target,
            revisions=known.revisions(),
            backup=current.settings.backup,
            tries=tries,
            platform=current.platform,
        )
    if as_json:
        print_json(found)
    else:
        print_readiness(console(), found)
    return 0 if found.ready else 3


@db.command("role", short_help="Print the SQL that makes the roles of workers and of publishers.")
def role_command() -> None:
    """Print the SQL that makes a role with exactly the rights of workers and commands, and a publisher's.

    Only the second one (flowshift_publisher) may update bots.use_workflow_v2 and a version's status:
    `rollback` runs as it. An administrator runs the SQL after each upgrade.

    \b
    Examples:
      flowshift db role | psql -v role=flowshift DATABASE
    """
    say_lines((resources.files("migrations") / "role.sql").read_text("utf-8"))
