"""How Alembic reaches the database, whether called by `migrations.upgrade` or on the command line.

A caller in this program passes its connection in `config.attributes["connection"]`. On the command
line the connection is the one of the settings.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

import sqlalchemy as sa
from alembic import context
from alembic.util import CommandError

from migrations.printing import print_sql
from worker import log, settings
from worker.db.engine import check_server, create_engine, database_url
from worker.db.models import metadata
from worker.db.session import need_own
from worker.db.tables import SCHEMA
from worker.errors import FlowshiftError

# Two upgrades at once: the second waits here, then finds nothing left to do. The number is
# "flowshi" in ASCII; advisory locks belong to one database.
_LOCK = 0x666C6F77736869
_LOCK_PAUSE_S = 0.2


def run() -> None:
    """Run whatever command Alembic was given."""
    do = print_sql if context.is_offline_mode() else migrate
    given = context.config.attributes.get("connection")
    if given is not None:
        do(given)
        return
    try:
        with _connection_of_the_settings() as connection:
            do(connection)
    except FlowshiftError as error:
        raise CommandError(str(error)) from error


def migrate(connection: sa.Connection) -> None:
    """Run the migrations on a connection that is in no transaction, one at a time."""
    need_own(connection, "a change of the tables (upgrade or downgrade)")
    with _without_timeouts(connection), _alone(connection):
        _create_schema(connection)
        context.configure(
            connection=connection,
            target_metadata=metadata,
            version_table_schema=SCHEMA,
            transaction_per_migration=True,
            include_schemas=True,
            include_name=_is_known,
            include_object=_is_in_models,
            compare_server_default=True,
        )
        with context.begin_transaction():
            context.run_migrations()
        connection.commit()


@contextmanager
def _connection_of_the_settings() -> Iterator[sa.Connection]:
    values = settings.load()
    # What is only printed is not done, so nothing is to be logged of it.
    level = "warning" if context.is_offline_mode() else values.log_level
    log.configure(log_format=values.log_format, level=level)
    with _url(values) as url:
        engine = create_engine(
            database_url(url),
            lock_timeout_ms=values.lock_timeout_ms,
            statement_timeout_ms=values.statement_timeout_ms,
            application_name="flowshift alembic",
        )
        try:
            check_server(engine)
            with engine.connect() as connection:
                yield connection
        finally:
            engine.dispose()


@contextmanager
def _url(values: settings.Settings) -> Iterator[str]:
    if values.database_url:
        yield values.database_url
        return
    # Only here: the embedded servers are an optional extra.
    from worker.servers.connect import database_for_command  # noqa: PLC0415

    with database_for_command(values) as url:
        yield url


@contextmanager
def _without_timeouts(connection: sa.Connection) -> Iterator[None]:
    """Index builds take as long as they take; what must be brief sets its own limit."""
    names = ("lock_timeout", "statement_timeout", "idle_in_transaction_session_timeout")
    for name in names:
        connection.execute(sa.text(f"SET {name} = 0"))
    connection.commit()
    try:
        yield
    finally:
        if not connection.invalidated:
            connection.rollback()
            for name in names:
                connection.execute(sa.text(f"RESET {name}"))
            connection.commit()


@contextmanager
def _alone(connection: sa.Connection) -> Iterator[None]:
    # Asked for again and again rather than waited for: an index build waits for every statement
    # that is under way, and so for the one that would wait for the build.
    while not _scalar(connection, "SELECT pg_try_advisory_lock(:key)"):
        time.sleep(_LOCK_PAUSE_S)
    try:
        yield
    finally:
        if not connection.invalidated:
            connection.rollback()
            _scalar(connection, "SELECT pg_advisory_unlock(:key)")


def _scalar(connection: sa.Connection, sql: str) -> bool:
    value = connection.execute(sa.text(sql), {"key": _LOCK}).scalar_one()
    connection.commit()
    return bool(value)


def _create_schema(connection: sa.Connection) -> None:
    # IF NOT EXISTS alone asks for the right to create schemas even where an administrator did it.
    there = connection.execute(sa.text("SELECT to_regnamespace(:name)"), {"name": SCHEMA})
    if there.scalar_one() is None:
        connection.execute(sa.text(f"CREATE SCHEMA IF NOT EXISTS {SCHEMA}"))
    connection.commit()


def _is_known(name: str | None, kind: str, parents: object) -> bool:  # noqa: ARG001
    """For `alembic check` and `revision --autogenerate`: only our schema and the default one."""
    return kind != "schema" or name in {None, SCHEMA}


def _is_in_models(
    item: object,  # noqa: ARG001
    name: str | None,  # noqa: ARG001
    kind: str,  # noqa: ARG001
    reflected: bool,
    compared_to: object,
) -> bool:
    """What only the database has belongs to the platform."""
    return not (reflected and compared_to is None)


run()
