"""Bringing a database to a revision of the schema, from within the program."""

from __future__ import annotations

import io
import threading
from collections.abc import Callable
from pathlib import Path

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from alembic.script.revision import RevisionError
from alembic.util import CommandError

from worker.core.printable import escape
from worker.db.engine import map_database_errors
from worker.db.schema import revision as revision_of
from worker.errors import UsageError

# Alembic keeps the context that migrations run in as a global of the process.
_one_at_a_time = threading.Lock()


def upgrade(engine: sa.Engine, revision: str = "head", *, create: bool = False) -> None:
    """Bring the database up to `revision`. Safe to repeat, and to run twice at once.

    With `create` the platform's tables are created even where a table in another schema, or of another
    name, looks like one of them.

    Raises:
        UsageError: the platform's tables cannot be adopted as they are (lists why), or there is no
            such revision.
        ConfigError: the role may not change them.
        TransientError: a table was busy for too long, or the server unavailable.
    """

    def do(config: Config) -> None:
        config.attributes["create"] = create
        command.upgrade(config, revision)

    _run(engine, do)


def upgrade_sql(engine: sa.Engine, revision: str = "head", *, create: bool = False) -> str:
    """What `upgrade` would do to the database as it is, as SQL for psql; nothing is executed.

    Raises:
        UsageError, ConfigError, TransientError: as for `upgrade`.
    """
    out = io.StringIO()

    def do(config: Config) -> None:
        config.output_buffer = out
        config.attributes["create"] = create
        command.upgrade(config, revision, sql=True)

    _run(engine, do)
    return out.getvalue()


def downgrade(engine: sa.Engine, revision: str, *, drop_backups: bool = False) -> None:
    """Take the database down to `revision`, or to `base`.

    Never drops what was adopted, nor a created table or column of the platform's that holds data; nor,
    without `drop_backups`, a bot's only backup: then nothing is undone at all.

    Raises:
        UsageError, ConfigError, TransientError: as for `upgrade`.
    """

    def do(config: Config) -> None:
        config.attributes["drop_backups"] = drop_backups
        if not drop_backups:
            _refuse_early(config, revision)
        command.downgrade(config, revision)

    _run(engine, do)


def _refuse_early(config: Config, revision: str) -> None:
    """Raise what a migration on the way down to `revision` would, before the first one is undone."""
    connection: sa.Connection = config.attributes["connection"]
    scripts = ScriptDirectory.from_config(config)
    with connection.begin():
        at = revision_of.current(connection)
        if at is None:
            return
        for script in scripts.iterate_revisions(at, revision):
            refuse = getattr(script.module, "refuse_downgrade", None)
            if refuse is not None:
                refuse(connection)


def current(engine: sa.Engine) -> str | None:
    """The revision that the database is at; None if there is none yet."""
    with map_database_errors(), engine.connect() as connection:
        return revision_of.current(connection)


def alembic_config() -> Config:
    """Alembic's configuration for the installed migrations, with or without a checkout."""
    config = Config()
    # A percent sign begins an interpolation there.
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    return config


def _run(engine: sa.Engine, do: Callable[[Config], None]) -> None:
    config = alembic_config()
    try:
        with _one_at_a_time, map_database_errors(), engine.connect() as connection:
            config.attributes["connection"] = connection
            do(config)
    except (CommandError, RevisionError) as error:
        raise UsageError(escape(str(error))) from error
