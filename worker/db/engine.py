"""The connection to PostgreSQL: reading its URL, opening it, and telling its errors apart."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Final

import psycopg
import sqlalchemy as sa
from psycopg.conninfo import make_conninfo
from sqlalchemy import exc

from worker.db import session
from worker.db import sqlstate as states
from worker.db.compression import Compression
from worker.db.hosts import make_url, place
from worker.db.measuring.cursor import TimedCursor
from worker.errors import ConfigError, LockedError, SlowError, TransientError

SETTING = session.SETTING
OLDEST_SERVER = 13

_DRIVER = "postgresql+psycopg"
_SCHEMES = frozenset({"postgres", "postgresql", _DRIVER})

# What a URL may overrule. A dead peer is noticed within a minute, not after the kernel's two hours.
_CONNECT_DEFAULTS: dict[str, str] = {
    "connect_timeout": "10",
    "keepalives_idle": "30",
    "keepalives_interval": "10",
    "keepalives_count": "3",
}

# SQLSTATE classes in which every error may pass by itself: the connection (08), resources (53),
# and an operator or the server stepping in (57: shutdown, cancelled, not up yet).
_TRANSIENT_CLASSES = frozenset({"08", "53", "57"})
# Not about the row that is being written: our statement, the role, or the schema.
_NOT_ABOUT_A_ROW = ("42", "28", "3F")
_TRANSIENT_STATES = states.LOCKED | {
    states.READ_ONLY,
    states.IDLE_FOR_TOO_LONG,
    states.TRANSACTION_FOR_TOO_LONG,
    states.ROLLED_BACK,
    states.SERIALIZATION_FAILURE,
    states.COMPLETION_UNKNOWN,
    states.SYSTEM_ERROR,
    states.INPUT_OUTPUT_ERROR,
    states.SNAPSHOT_TOO_OLD,
}


def database_url(raw: str) -> sa.URL:
    """Read a PostgreSQL URL as libpq, SQLAlchemy and hosting providers write it.

    Raises:
        ConfigError: it is no URL of PostgreSQL, or has a parameter that libpq does not know. The
            message never repeats the URL.

    >>> database_url("postgres://me@db/platform?sslmode=require").drivername
    'postgresql+psycopg'
    """
    try:
        url = make_url(raw.strip())
    except (exc.ArgumentError, ValueError):
        # Not chained: the parser's message repeats the URL, with its password.
        raise ConfigError(_EXPECTED, setting=SETTING) from None
    if url.drivername.lower() not in _SCHEMES:
        raise ConfigError(f"{_EXPECTED}, not {url.drivername}://", setting=SETTING)
    _refuse_unknown_parameters(url)
    password = url.query.get("password")
    if isinstance(password, str):  # SQLAlchemy hides the password only in its usual place
        url = url.set(password=password).difference_update_query(["password"])
    return url.set(drivername=_DRIVER)


_EXPECTED = "it should hold a PostgreSQL URL, such as postgresql://user:password@host:5432/database"


def create_engine(
    url: sa.URL,
    *,
    lock_timeout_ms: int,
    statement_timeout_ms: int,
    application_name: str,
    compression: Compression | None = None,
) -> sa.Engine:
    """An engine whose every transaction has these time-outs, in UTC, at READ COMMITTED.

    Nothing connects yet. An idle transaction is closed by the server after `statement_timeout_ms`,
    so that a process that hangs cannot hold the platform's rows. What else is set, whatever the
    defaults of server, database and role are, and how through a pooler: `worker.db.session`.
    `compression` says how large values are compressed; None leaves that to the server. To connect
    raises ConfigError where the server has not got it.
    """
    connect_args: dict[str, object] = {
        key: value for key, value in _CONNECT_DEFAULTS.items() if key not in url.query
    }
    connect_args |= {
        "application_name": application_name,
        "client_encoding": "utf8",
        # A prepared statement outlives neither a pooler's switch of servers nor the platform
        # altering one of its columns.
        "prepare_threshold": None,
        "cursor_factory": TimedCursor,
    }
    engine = sa.create_engine(
        url,
        connect_args=connect_args,
        isolation_level="READ COMMITTED",
        pool_pre_ping=True,
        pool_size=4,
        max_overflow=4,
        pool_timeout=30,
        pool_use_lifo=True,
        hide_parameters=True,  # parameters are workflow bodies; errors are logged
    )
    given = session.options_given(url)
    session.prepare(
        engine,
        given=given,
        time_outs_ms={
            "lock_timeout": lock_timeout_ms,
            "statement_timeout": statement_timeout_ms,
            "idle_in_transaction_session_timeout": statement_timeout_ms,
        },
        compression=compression,
        with_options=bool(given) or not ("service" in url.query or "PGSERVICE" in os.environ),
    )
    return engine


def check_server(engine: sa.Engine) -> None:
    """Connect once, and refuse a server or a database that cannot be used.

    Raises:
        ConfigError: there is no way in (says where it tried and what the server answered), the
            server is older than PostgreSQL 13, the database's encoding is not UTF8, or the role's
            sessions skip foreign keys and triggers.
    """
    try:
        with engine.connect() as connection:
            number, name, encoding, replication_role = connection.execute(
                sa.text(
                    "SELECT current_setting('server_version_num')::int,"
                    " current_setting('server_version'), current_setting('server_encoding'),"
                    " current_setting('session_replication_role')"
                )
            ).one()
    except exc.DBAPIError as error:
        raise ConfigError(
            f"cannot connect to {place(engine.url)}: {reason_of(error)}", setting=SETTING
        ) from error
    where = place(engine.url)
    refuse_old_server(number, name, where)
    if encoding != "UTF8":
        raise ConfigError(
            f"{where} has the encoding {encoding}; workflows are in every language, and need a "
            "database with the encoding UTF8",
            setting=SETTING,
        )
    if replication_role != "origin":
        raise ConfigError(
            f"{where} gives this role session_replication_role = {replication_role}: foreign keys and "
            "triggers would not fire; ALTER ROLE … RESET session_replication_role",
            setting=SETTING,
        )


def refuse_old_server(number: int, name: str, where: str) -> None:
    """Raise ConfigError for a `server_version_num` below PostgreSQL 13.

    >>> refuse_old_server(120022, "12.22", "database 'd' at h:5432")
    Traceback (most recent call last):
    ...
    worker.errors.ConfigError: FLOWSHIFT_DATABASE_URL: database 'd' at h:5432 is PostgreSQL 12.22; \
13 or newer is needed
    """
    if number < OLDEST_SERVER * 10_000:
        raise ConfigError(
            f"{where} is PostgreSQL {name}; {OLDEST_SERVER} or newer is needed", setting=SETTING
        )


_KINDS: Final[Mapping[str | None, type[TransientError]]] = {
    states.IDLE_FOR_TOO_LONG: SlowError,
    states.LOCK_NOT_AVAILABLE: LockedError,
}


@contextmanager
def map_database_errors() -> Iterator[None]:
    """Turn errors that may pass by themselves into TransientError; let every other one through.

    Where others' locks were waited for until the time-out, that is a LockedError. Except a right that
    the role lacks: a ConfigError, since only a person can grant it. The one place where the driver's
    errors get a meaning. Also works as a decorator. Ctrl-C, or the order to stop, that came while the
    driver waited is raised as such.
    """
    handled = sys.exc_info()[1]
    try:
        yield
    except (exc.SQLAlchemyError, psycopg.Error) as error:
        interruption = _interruption(error, handled)
        if interruption is not None:
            raise interruption from None
        if sqlstate(error) == states.INSUFFICIENT_PRIVILEGE:
            raise ConfigError(
                f"the role lacks a right: {reason_of(error)} (flowshift db check lists them all)",
                setting=SETTING,
            ) from error
        if not is_transient(error):
            raise
        state = sqlstate(error)
        kind = _KINDS.get(state, TransientError)
        raise kind(_passing(state, reason_of(error))) from error


def _passing(state: str | None, reason: str) -> str:
    """What is said of an error that may pass by itself."""
    if state == states.READ_ONLY:
        return (
            f"the database cannot be written ({state}): {reason}; is it a standby? Then connect to the"
            " primary"
        )
    return f"the database was unavailable or busy{f' ({state})' if state else ''}: {reason}"


def _interruption(error: BaseException, handled: BaseException | None) -> BaseException | None:
    """What ended the driver's wait, where its own cleaning up failed and hid that.

    `handled` was being handled before the driver was called: it is nothing new. That a generator which
    reads rows is closed is no order: its cursor cannot be closed where the connection is lost.
    """
    seen: BaseException | None = error
    while seen is not None and seen is not handled:
        if not isinstance(seen, Exception | GeneratorExit):
            return seen
        seen = seen.__cause__ or seen.__context__
    return None


def is_transient(error: BaseException) -> bool:
    """Whether the same work may succeed later on a new connection."""
    # The pool ran out of connections, or an earlier loss of the connection was ignored.
    if isinstance(error, exc.TimeoutError | exc.PendingRollbackError):
        return True
    if isinstance(error, exc.DBAPIError) and error.connection_invalidated:
        return True
    state = sqlstate(error)
    if state is None:
        # Without a state it is the connection that failed: refused, closed, timed out.
        return isinstance(_original(error), psycopg.OperationalError)
    return state[:2] in _TRANSIENT_CLASSES or state in _TRANSIENT_STATES


def is_about_a_row(error: BaseException) -> bool:
    """Whether an error that does not pass may come from one row, so that others can be written.

    An error of our statement, the role or the schema does not, unless it arose in the platform's own
    code (a trigger's), or a policy refused the row.
    """
    if not (sqlstate(error) or "").startswith(_NOT_ABOUT_A_ROW):
        return True
    original = _original(error)
    diag = original.diag if isinstance(original, psycopg.Error) else None
    return diag is not None and (
        bool(diag.context) or diag.source_function == "ExecWithCheckOptions"
    )


def sqlstate(error: BaseException) -> str | None:
    """PostgreSQL's five characters for an error of the driver or of SQLAlchemy, if it has them."""
    original = _original(error)
    return original.sqlstate if isinstance(original, psycopg.Error) else None


def _original(error: BaseException) -> BaseException | None:
    return error.orig if isinstance(error, exc.DBAPIError) else error


def reason_of(error: BaseException) -> str:
    """What the server or the driver said, on one line; never the statement or its parameters."""
    original = _original(error) or error
    if isinstance(original, psycopg.Error) and original.diag.message_primary:
        return original.diag.message_primary
    lines = (line.strip() for line in str(original).splitlines())
    return "; ".join(line for line in lines if line)


def _refuse_unknown_parameters(url: sa.URL) -> None:
    for name in url.query:
        try:
            make_conninfo("", **{name: "x"})
        except psycopg.Error as error:
            raise ConfigError(
                f"it has the parameter {name!r}, which PostgreSQL does not know", setting=SETTING
            ) from error
