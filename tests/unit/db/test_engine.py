"""The connection: reading URLs, and telling errors that pass from errors that stay."""

from __future__ import annotations

import psycopg
import pytest
import sqlalchemy as sa
from psycopg import errors
from sqlalchemy import exc

from worker.db.engine import (
    check_server,
    create_engine,
    database_url,
    is_transient,
    map_database_errors,
    refuse_old_server,
)
from worker.db.hosts import place
from worker.errors import ConfigError, TransientError

NOWHERE = "postgresql://me:s3cret@127.0.0.1:1/platform"


def an_engine(url: str, lock_timeout_ms: int = 100, statement_timeout_ms: int = 1_000) -> sa.Engine:
    return create_engine(
        database_url(url),
        lock_timeout_ms=lock_timeout_ms,
        statement_timeout_ms=statement_timeout_ms,
        application_name="test",
    )


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+psycopg"])
def test_every_usual_scheme_gets_the_psycopg_driver(scheme: str) -> None:
    url = database_url(f" {scheme}://me:pa%40ss@db.example:6543/platform?sslmode=require\n")

    assert url.drivername == "postgresql+psycopg"
    assert (url.username, url.password, url.host) == ("me", "pa@ss", "db.example")
    assert (url.port, url.database, url.query) == (6543, "platform", {"sslmode": "require"})


def test_a_socket_directory_and_certificates_are_passed_on() -> None:
    url = database_url("postgresql:///platform?host=/run/pg&sslrootcert=/etc/ca.pem")

    assert url.query == {"host": "/run/pg", "sslrootcert": "/etc/ca.pem"}
    assert place(url) == "database 'platform' at /run/pg"


def test_a_password_given_as_a_parameter_is_hidden_like_any_other() -> None:
    url = database_url("postgresql://me@db/platform?password=s3cret")

    assert url.password == "s3cret"
    assert "s3cret" not in str(url)


@pytest.mark.parametrize(
    "raw",
    [
        "mysql://me:s3cret@db/platform",
        "postgresql+psycopg2://me:s3cret@db/platform",
        "sqlite:///platform",
        "redis://me:s3cret@db/0",
        "postgresql://me:s3cret@db:port/platform",
        "me:s3cret@db/platform",
        "s3cret",
        "",
        "postgresql://me:s3cret@db/platform?schema=public",
        "postgresql://me:s3cret@db/platform?pool_size=3",
    ],
)
def test_anything_else_is_refused_by_the_name_of_the_setting_and_without_the_password(
    raw: str,
) -> None:
    with pytest.raises(ConfigError) as caught:
        database_url(raw)

    assert caught.value.setting == "FLOWSHIFT_DATABASE_URL"
    assert str(caught.value).startswith("FLOWSHIFT_DATABASE_URL: ")
    assert "s3cret" not in str(caught.value)


def test_an_unknown_parameter_is_named() -> None:
    with pytest.raises(ConfigError, match="'schema'"):
        database_url("postgresql://db/platform?schema=public")


@pytest.mark.parametrize(
    ("raw", "where"),
    [
        ("postgresql://me:s@db/x", "database 'x' at db:5432 as user 'me'"),
        ("postgresql://db:6543/x", "database 'x' at db:6543"),
        ("postgresql:///x", "database 'x' at the local socket"),
        ("postgresql://db", "database (the default one) at db:5432"),
        ("postgresql:///x?host=a:1&host=b:2", "database 'x' at a:1, b:2"),
    ],
)
def test_a_place_is_shown_with_all_but_its_password(raw: str, where: str) -> None:
    assert place(database_url(raw)) == where


def test_a_server_that_is_away_is_named_with_its_place_and_without_the_password() -> None:
    engine = an_engine(NOWHERE)

    with pytest.raises(ConfigError) as caught:
        check_server(engine)

    assert caught.value.setting == "FLOWSHIFT_DATABASE_URL"
    assert "database 'platform' at 127.0.0.1:1 as user 'me'" in str(caught.value)
    assert "refused" in str(caught.value)
    assert "s3cret" not in str(caught.value)


def test_a_socket_directory_without_a_server_is_named() -> None:
    engine = an_engine("postgresql:///platform?host=/nonexistent/socket")

    with pytest.raises(ConfigError, match="'platform' at /nonexistent/socket"):
        check_server(engine)


def test_postgresql_12_is_refused_and_13_is_not() -> None:
    refuse_old_server(130000, "13.0", "here")
    with pytest.raises(ConfigError, match=r"FLOWSHIFT_DATABASE_URL: here is PostgreSQL 12\.22; 13"):
        refuse_old_server(120022, "12.22", "here")


def test_a_connection_refused_is_transient() -> None:
    engine = an_engine(NOWHERE)

    with pytest.raises(TransientError, match="refused") as caught, map_database_errors():
        engine.connect()

    assert isinstance(caught.value.__cause__, exc.OperationalError)
    assert "s3cret" not in str(caught.value)


# Every error of these classes that psycopg knows, decided one by one.
TRANSIENT = {
    "08000", "08001", "08003", "08004", "08006", "08007", "08P01",
    "25006", "25P03", "25P04",
    "40000", "40001", "40003", "40P01",
    "53000", "53100", "53200", "53300", "53400",
    "55P03",
    "57000", "57014", "57P01", "57P02", "57P03", "57P04", "57P05",
    "58000", "58030",
    "72000",
}  # fmt: skip
LASTING = {
    # Transaction state: the program's mistake.
    "25000", "25001", "25002", "25003", "25004", "25005", "25007", "25008", "25P01", "25P02",
    "40002",  # an integrity constraint, found at commit
    "55000", "55006", "55P02", "55P04",  # the object's state, not its being locked
    "58P01", "58P02", "58P03",  # a file of the installation is missing
}  # fmt: skip
DECIDED_CLASSES = ("08", "25", "40", "53", "55", "57", "58", "72")

EVERY_ERROR = sorted(
    {
        (known.sqlstate, known)
        for known in vars(errors).values()
        if isinstance(known, type)
        and issubclass(known, psycopg.Error)
        and isinstance(known.sqlstate, str)
    },
    key=lambda pair: pair[0],
)


def test_no_error_of_the_driver_is_undecided() -> None:
    known = {state for state, _ in EVERY_ERROR if state.startswith(DECIDED_CLASSES)}

    assert known == TRANSIENT | LASTING
    assert not TRANSIENT & LASTING


@pytest.mark.parametrize(("state", "known"), EVERY_ERROR, ids=[state for state, _ in EVERY_ERROR])
def test_an_error_is_retried_exactly_if_the_table_says_so(
    state: str, known: type[psycopg.Error]
) -> None:
    bare = known("said the server")
    wrapped = exc.DBAPIError("SELECT 1", {"body": "s3cret"}, bare)
    mapped: dict[str, type[Exception]] = dict.fromkeys(TRANSIENT, TransientError)
    mapped["42501"] = ConfigError  # a right that the role lacks: only a person can grant it

    with pytest.raises(mapped.get(state, type(bare))), map_database_errors():
        raise bare
    with pytest.raises(mapped.get(state, exc.DBAPIError)) as caught:
        raise_mapped(wrapped)
    if state in TRANSIENT:
        assert state in str(caught.value)
        assert "said the server" in str(caught.value)
        assert "SELECT" not in str(caught.value)


@map_database_errors()
def raise_mapped(error: Exception) -> None:
    raise error


def test_a_code_that_psycopg_does_not_know_yet_is_judged_by_its_class() -> None:
    class NewConnectionTrouble(psycopg.OperationalError):
        sqlstate = "08XYZ"

    class NewDataTrouble(psycopg.DataError):
        sqlstate = "22XYZ"

    assert is_transient(NewConnectionTrouble())
    assert not is_transient(NewDataTrouble())


@pytest.mark.parametrize(
    "error",
    [
        psycopg.OperationalError("the connection is closed"),
        errors.ConnectionTimeout("connection timeout expired"),
        exc.TimeoutError("QueuePool limit reached"),
        exc.PendingRollbackError("Can't reconnect until invalid transaction is rolled back."),
        exc.InterfaceError("", {}, psycopg.InterfaceError("gone"), connection_invalidated=True),
    ],
)
def test_losing_the_connection_is_transient_without_any_code(error: Exception) -> None:
    with pytest.raises(TransientError):
        raise_mapped(error)


@pytest.mark.parametrize(
    "error",
    [
        psycopg.InterfaceError("the cursor is closed"),
        psycopg.ProgrammingError("mistake"),
        exc.NoResultFound("No row was found"),
        exc.InvalidRequestError("mistake"),
        ValueError("not the database's"),
    ],
)
def test_a_mistake_of_the_program_stays_what_it_is(error: Exception) -> None:
    with pytest.raises(type(error)):
        raise_mapped(error)
