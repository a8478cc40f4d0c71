"""An upgrade as SQL to read and run elsewhere: what it would do to this database as it is now.

Nothing is executed. Migrations look at the catalog through a connection that only reads
(`operations.catalog`); what they would execute, Alembic writes down (its offline mode).
"""

from __future__ import annotations

import io
import re
import sys

import sqlalchemy as sa
from alembic import context
from alembic.script import ScriptDirectory
from alembic.util import CommandError

from migrations.operations import on_one_line
from worker.db.tables import SCHEMA

_READ_ONLY = "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY"
_HEAD = """\
-- flowshift db upgrade --sql
-- Brings the database {database}, which is at revision {start}, to {end}.
--
-- Run it as the owner of the platform's tables, each statement by itself: psql -v ON_ERROR_STOP=1 -f FILE
-- (not with --single-transaction: indexes on tables in use are built outside of transactions).
-- If a statement fails, the rest can be printed again when its cause is gone: what is done is left out.

SET client_encoding = 'UTF8';

SET lock_timeout = 0;

SET statement_timeout = 0;

SET idle_in_transaction_session_timeout = 0;

"""
_GUARD = """\
DO $$ BEGIN
    IF (SELECT string_agg(version_num, ', ') FROM {table}) IS DISTINCT FROM {start} THEN
        RAISE EXCEPTION 'this was printed for a database at revision {name}: print it again';
    END IF;
END $$;

"""
_GUARD_OF_NOTHING = """\
DO $$ BEGIN
    IF to_regclass('{table}') IS NOT NULL THEN
        RAISE EXCEPTION 'this was printed for a database without flowshift: print it again';
    END IF;
END $$;

"""


def print_sql(connection: sa.Connection) -> None:
    """Write the SQL of Alembic's command to its output; `connection` is in no transaction, and only reads.

    Raises:
        CommandError: the command is no upgrade, or begins elsewhere than this database is.
        UsageError: a person has to settle something first, as for the upgrade itself.
    """
    with connection.begin() as transaction:
        connection.exec_driver_sql(_READ_ONLY)
        has_table, start = _revision(connection)
        end = _destination(start)
        body = "" if start == end else _body(connection, start)
        database = connection.exec_driver_sql("SELECT current_database()").scalar_one()
        has_schema = connection.exec_driver_sql(f"SELECT to_regnamespace('{SCHEMA}')").scalar_one()
        transaction.rollback()
    out = context.config.output_buffer or sys.stdout
    if not body:
        out.write(
            f"-- the database {on_one_line(database)} is at revision {start}: nothing to do\n"
        )
        return
    out.write(_HEAD.format(database=on_one_line(database), start=start or "none", end=end))
    out.write(_guard(start, has_table=has_table))
    if has_schema is None:
        out.write(f"CREATE SCHEMA {SCHEMA};\n\n")
    out.write(body)


def _body(connection: sa.Connection, start: str | None) -> str:
    buffer = io.StringIO()
    context.configure(
        dialect_name="postgresql",
        dialect_opts={"paramstyle": "named"},
        output_buffer=buffer,
        literal_binds=True,
        starting_rev=start,
        version_table_schema=SCHEMA,
        transaction_per_migration=True,
        catalog=connection,
    )
    with context.begin_transaction():
        context.run_migrations()
    text = buffer.getvalue()
    # After a downgrade to base the table is still there; and steps that end a transaction leave empty ones.
    text = text.replace("CREATE TABLE flowshift.alembic_version", _IF_NOT_EXISTS, 1)
    text = text.replace(
        " RETURNING flowshift.alembic_version.version_num", ""
    )  # psql would show it
    return re.sub(r"BEGIN;\n\n(-- [^\n]*\n\n)?COMMIT;\n\n", r"\1", text)


_IF_NOT_EXISTS = "CREATE TABLE IF NOT EXISTS flowshift.alembic_version"


def _revision(connection: sa.Connection) -> tuple[bool, str | None]:
    """Whether there is a version table, and the revision in it."""
    table = f"{SCHEMA}.alembic_version"
    if connection.exec_driver_sql(f"SELECT to_regclass('{table}')").scalar_one() is None:
        return False, None
    found = connection.exec_driver_sql(f"SELECT version_num FROM {table}").scalar_one_or_none()
    return True, found


def _destination(start: str | None) -> str | None:
    """The revision that the command leads to."""
    said = context.get_starting_revision_argument()
    if said not in (None, start):
        raise CommandError(f"the database is at revision {start}, not {said}: leave the start out")
    end = context.get_revision_argument()
    scripts = ScriptDirectory.from_config(context.config).walk_revisions()
    order = [None, *reversed([script.revision for script in scripts])]
    if start in order and end in order and order.index(end) < order.index(start):
        raise CommandError(
            "only an upgrade can be printed: what a downgrade drops depends on what the tables hold"
            " when it runs"
        )
    return end if isinstance(end, str) else None


def _guard(start: str | None, *, has_table: bool) -> str:
    table = f"{SCHEMA}.alembic_version"
    if not has_table:
        return _GUARD_OF_NOTHING.format(table=table)
    literal = "NULL" if start is None else f"'{start}'"
    return _GUARD.format(table=table, start=literal, name=start or "none")
