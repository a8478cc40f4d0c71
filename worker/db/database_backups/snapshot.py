"""One snapshot that several sessions read: ours, which hashes, and pg_dump's."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import msgspec
import sqlalchemy as sa
from psycopg import sql

from worker.db.bulk import driver
from worker.db.database_backups.content import Source, sources
from worker.db.engine import create_engine, database_url
from worker.db.schema.revision import current
from worker.db.session import need_own


class Snapshot(msgspec.Struct, frozen=True, kw_only=True):
    """A snapshot that is open as long as its connection's transaction.

    `name` is for SET TRANSACTION SNAPSHOT, `said` what pg_current_snapshot() said in it, `taken_at` the
    database's clock in UTC.
    """

    connection: sa.Connection
    name: str
    said: str
    taken_at: dt.datetime
    server_version: int
    revision: str
    sources: tuple[Source, ...]


def patient_engine(url: str, *, lock_timeout_ms: int) -> sa.Engine:
    """An engine whose statements and transactions may take as long as they need; locks may not."""
    return create_engine(
        database_url(url),
        lock_timeout_ms=lock_timeout_ms,
        statement_timeout_ms=0,
        application_name="flowshift backup",
    )


_OPENED: Final = sa.text("""
    SELECT pg_export_snapshot() AS name, pg_current_snapshot()::text AS said,
           now() AS taken_at, current_setting('server_version_num')::int AS server_version
""")


@contextmanager
def open_snapshot(engine: sa.Engine) -> Iterator[Snapshot]:
    """Lock the tables against being altered, and open a snapshot of them until the block ends.

    The lock comes first: what was truncated or rewritten between the two would be missing in the
    snapshot. It lets everything pass but DDL.

    Raises:
        ConfigError: a pooler is in between, or the role may not read a table.
        UsageError: a table is none.
    """
    with engine.begin() as connection:
        need_own(connection, "a backup")
        before = sources(connection)
    options = {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}
    with engine.connect().execution_options(**options) as connection:
        connection.execute(sa.text("SET LOCAL row_security = off"))
        _lock(connection, before)
        opened = connection.execute(_OPENED).one()
        yield Snapshot(
            connection=connection,
            name=opened.name,
            said=opened.said,
            taken_at=opened.taken_at,
            server_version=opened.server_version,
            revision=current(connection) or "",
            sources=sources(connection),
        )


def _lock(connection: sa.Connection, found: tuple[Source, ...]) -> None:
    names = sql.SQL(", ").join(source.relation for source in found)
    with driver(connection).cursor() as cursor:
        cursor.execute(sql.SQL("LOCK TABLE {} IN ACCESS SHARE MODE").format(names))


# -- how far another session's COPY is -------------------------------------------------------------

# The view is of PostgreSQL 14; what statistics say stays the same in a transaction unless cleared.
_COPIED: Final = sa.text("""
    SELECT p.relid::int8, p.tuples_processed FROM pg_stat_progress_copy p
    JOIN pg_stat_activity a ON a.pid = p.pid
    WHERE a.application_name = :name AND a.datname = current_database()
""")


class CopyWatch:
    """Counts the rows that the sessions of one application name have copied so far."""

    def __init__(self, connection: sa.Connection, application_name: str) -> None:
        self._connection = connection
        self._name = application_name
        self._rows: dict[int, int] = {}
        version = connection.execute(sa.text("SHOW server_version_num")).scalar_one()
        self._can_see = int(version) >= 140_000

    def rows(self) -> int:
        """Rows so far; 0 where the server cannot say it."""
        if self._can_see:
            self._connection.execute(sa.text("SELECT pg_stat_clear_snapshot()"))
            for relation, rows in self._connection.execute(_COPIED, {"name": self._name}):
                self._rows[relation] = max(rows, self._rows.get(relation, 0))
        return sum(self._rows.values())
