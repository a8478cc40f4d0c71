"""The commands that back up the database: backup, backup verify."""

from __future__ import annotations

from pathlib import Path

import click

from worker.cli.options import json_option
from worker.cli.printing import print_json, say
from worker.cli.session import configure_logging, opened, person
from worker.cli.signals import as_interrupt
from worker.cli.views.backup import (
    manifest_fields,
    print_manifest,
    print_verified,
    shown,
    verified_fields,
)
from worker.core.codes import quote
from worker.steps.backup.directory import remove_abandoned
from worker.steps.backup.take import take as take_backup
from worker.steps.backup.verify import Where
from worker.steps.backup.verify import verify as verify_backup

_TAKE = "take"


class _Backup(click.Group):
    """A group in which what names no command is a directory to back up into."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Put the command that is meant in front."""
        if args and args[0] not in {*self.commands, "--help", "-h"}:
            args = [_TAKE, *args]
        return super().parse_args(ctx, args)


@click.group(cls=_Backup)
def backup() -> None:
    """Back up the database into a directory, or verify a backup.

    `flowshift backup DIR` is `flowshift backup take DIR`.

    \b
    Examples:
      flowshift backup /var/backups/monday
      flowshift backup verify /var/backups/monday
    """


directory_argument = click.argument(
    "directory", metavar="DIR", type=click.Path(path_type=Path, file_okay=True)
)


@backup.command(_TAKE, short_help="Back up the database into the new directory DIR.")
@directory_argument
@click.option(
    "--without-executions",
    is_flag=True,
    help="Leave out what was recorded of executions: most of the bytes of a busy platform.",
)
@json_option
def take(*, directory: Path, without_executions: bool, as_json: bool) -> int:
    """Back up the platform's bots, versions and executions, and all of flowshift's tables, into DIR.

    Everything is read in one snapshot, beside the traffic: pg_dump writes it down, and a manifest has
    the hash of each table and of each bot. DIR must not exist yet. It gets its name once everything is
    on the disk: a backup that was interrupted has none, and what a killed one left beside DIR is removed
    by the next. Run it as the tables' owner.

    \b
    Examples:
      flowshift backup /var/backups/monday
      flowshift backup take /var/backups/monday --without-executions
    """
    configure_logging()
    target = directory.expanduser().absolute()
    with (
        opened(needs_redis=False) as current,
        as_interrupt(),
        shown("backup", quiet=as_json) as show,
    ):
        for path in remove_abandoned(target.parent):
            say(f"removed {quote(path.name)}: a backup that was killed had left it", err=True)
        manifest = take_backup(
            current,
            target,
            actor=person(),
            with_executions=not without_executions,
            show=show,
        )
    if as_json:
        print_json(manifest_fields(manifest, target))
    else:
        print_manifest(manifest, target)
    return 0


@backup.command(short_help="Restore the backup in DIR into a scratch database, and compare.")
@directory_argument
@click.option(
    "--embedded",
    is_flag=True,
    help="Restore on the PostgreSQL that flowshift starts in FLOWSHIFT_DATA_DIR, not on the server.",
)
@json_option
def verify(*, directory: Path, embedded: bool, as_json: bool) -> int:
    """Restore the backup in DIR into a scratch database, and compare it with its manifest.

    Every table by its rows and its hash, every bot by its hash. The scratch database is on the same
    server, and dropped afterwards, also after Ctrl-C. The result is on record: large waves and
    `flowshift finish` ask for a backup that was taken and verified less than a day ago.

    The exit code is 0 if the backup is whole, 1 if it is damaged or differs.

    \b
    Examples:
      flowshift backup verify /var/backups/monday
      flowshift backup verify /var/backups/monday --embedded --json
    """
    configure_logging()
    target = directory.expanduser().absolute()
    where: Where = "embedded" if embedded else "server"
    with (
        opened(needs_redis=False) as current,
        as_interrupt(),
        shown("verify", quiet=as_json) as show,
    ):
        found = verify_backup(current, target, where=where, actor=person(), show=show)
    if as_json:
        print_json(verified_fields(found, target))
    else:
        print_verified(found)
    if not found.on_record:
        say(
            "this backup is not on record in this database (it is of another one, or the database was"
            " restored since): the result was not noted",
            err=True,
        )
    return 1 if found.differences else 0
