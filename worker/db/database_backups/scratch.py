"""A scratch database that a backup is restored into: made under a name of ours, and dropped again."""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final

import sqlalchemy as sa
from psycopg import sql

from worker.core.backup.compare import Counted
from worker.core.backup.manifest import TableEntry
from worker.db.bulk import driver
from worker.db.database_backups.content import Source, count_table
from worker.db.database_backups.snapshot import patient_engine
from worker.db.engine import database_url
from worker.db.hosts import place
from worker.errors import ConfigError

PREFIX: Final = "flowshift_verify_"

_MAY: Final = sa.text("""
    SELECT current_user::text AS role, rolcreatedb OR rolsuper AS may_create
    FROM pg_roles WHERE rolname = current_user
""")

_LEFT_OVER: Final = sa.text("""
    SELECT d.datname::text FROM pg_database d
    WHERE starts_with(d.datname::text, :prefix) AND d.datname <> :own
      AND NOT EXISTS (SELECT FROM pg_stat_activity a WHERE a.datid = d.oid)
    ORDER BY d.datname
""")


@contextmanager
def scratch_database(url: str, *, lock_timeout_ms: int) -> Iterator[tuple[sa.Engine, list[str]]]:
    """An engine on a new, empty database beside that of `url`, dropped when the block ends.

    Ctrl-C ends the block, too. Besides it yields the names of such databases that a verification left
    behind which was killed: nobody is connected to them.

    Raises:
        ConfigError: the role may not create databases; says who can let it.
    """
    outer = patient_engine(url, lock_timeout_ms=lock_timeout_ms)
    name = f"{PREFIX}{secrets.token_hex(8)}"
    try:
        left_over = _create(outer, name)
        inner = patient_engine(_beside(url, name), lock_timeout_ms=lock_timeout_ms)
        try:
            yield inner, left_over
        finally:
            inner.dispose()
            _drop(outer, name)
    finally:
        outer.dispose()


def _beside(url: str, name: str) -> str:
    return database_url(url).set(database=name).render_as_string(hide_password=False)


def _create(engine: sa.Engine, name: str) -> list[str]:
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        role, may_create = connection.execute(_MAY).one()
        if not may_create:
            raise ConfigError(
                f"the role {role} may not create databases on {place(engine.url)}, and a backup is"
                f" verified in one of its own: an administrator runs ALTER ROLE {role} CREATEDB, or use"
                " --embedded, which restores on a PostgreSQL of this machine"
            )
        try:
            # A name of ours: nothing to quote.
            connection.exec_driver_sql(f"CREATE DATABASE {name} TEMPLATE template0 ENCODING 'UTF8'")
        except BaseException:  # interrupted: whether it is there is not known
            _drop(engine, name)
            raise
        given = {"prefix": PREFIX, "own": name}
        return list(connection.execute(_LEFT_OVER, given).scalars())


def _drop(engine: sa.Engine, name: str) -> None:
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.exec_driver_sql(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")


def make_schemas(connection: sa.Connection, tables: Sequence[TableEntry]) -> None:
    """The schemas of the tables, which pg_dump leaves out where it is told tables."""
    with driver(connection).cursor() as cursor:
        for schema in sorted({table.schema for table in tables}):
            cursor.execute(sql.SQL("CREATE SCHEMA IF NOT EXISTS {}").format(sql.Identifier(schema)))


def make_missing(connection: sa.Connection, tables: Sequence[TableEntry]) -> list[str]:
    """Create those of the tables that the dump's definition could not, with plain columns.

    That happens where a table needs what is elsewhere in the platform: a type, a function, an
    extension. Types that are not here become text, which holds every value as the dump has it.
    Returns the labels of these tables.
    """
    made = []
    for table in tables:
        if _source(connection, table) is not None:
            continue
        columns = [
            sql.SQL("{} {}").format(sql.Identifier(column.name), _type(connection, column.type))
            for column in table.columns
        ]
        with driver(connection).cursor() as cursor:
            cursor.execute(
                sql.SQL("CREATE TABLE {} ({})").format(
                    sql.Identifier(table.schema, table.name), sql.SQL(", ").join(columns)
                )
            )
        made.append(table.label)
    return made


def _type(connection: sa.Connection, name: str) -> sql.SQL:
    query = sa.text("SELECT to_regtype(:name) IS NOT NULL AND to_regtype(:name)::oid < 10000")
    is_built_in = connection.execute(query, {"name": name}).scalar_one()
    return sql.SQL(name if is_built_in else "text")


def count_restored(connection: sa.Connection, table: TableEntry) -> Counted | None:
    """The rows of a table as they came back, and the hash over them; None if it is not there."""
    source = _source(connection, table)
    return None if source is None else count_table(connection, source)


def is_there(connection: sa.Connection, table: TableEntry) -> bool:
    """Whether a table came back with its columns."""
    return _source(connection, table) is not None


def sources_of(tables: Sequence[TableEntry]) -> list[Source]:
    """The tables of a manifest, to be hashed as they were."""
    return [
        Source(schema=table.schema, name=table.name, columns=table.columns)
        for table in tables
        if table.per_bot
    ]


def _source(connection: sa.Connection, table: TableEntry) -> Source | None:
    query = sa.text("""
        SELECT array_agg(a.attname::text) FROM pg_attribute a
        JOIN pg_class c ON c.oid = a.attrelid JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE n.nspname = :schema AND c.relname = :name AND a.attnum > 0 AND NOT a.attisdropped
    """)
    given = {"schema": table.schema, "name": table.name}
    columns = connection.execute(query, given).scalar_one()
    if columns is None or not {column.name for column in table.columns} <= set(columns):
        return None
    return Source(schema=table.schema, name=table.name, columns=table.columns)
