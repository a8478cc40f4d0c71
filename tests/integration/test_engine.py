"""The engine against a server: what its connections are set to, and what going wrong is called."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
import sqlalchemy as sa

from tests.fleet import Fleet
from worker.db.bots import read_chunks
from worker.db.bulk import driver
from worker.db.engine import check_server, create_engine, database_url, map_database_errors
from worker.errors import ConfigError, TransientError


@pytest.fixture
def engine(empty_database: str) -> Iterator[sa.Engine]:
    engine = create_engine(
        database_url(empty_database),
        lock_timeout_ms=50,
        statement_timeout_ms=300,
        application_name="flowshift test",
    )
    yield engine
    engine.dispose()


def test_a_usable_server_is_accepted(engine: sa.Engine) -> None:
    check_server(engine)


def test_a_database_that_is_not_there_is_named(empty_database: str) -> None:
    missing = database_url(empty_database).set(database="no_such_database")
    engine = create_engine(
        missing, lock_timeout_ms=50, statement_timeout_ms=300, application_name="test"
    )

    with pytest.raises(ConfigError) as caught:
        check_server(engine)

    assert caught.value.setting == "FLOWSHIFT_DATABASE_URL"
    assert "cannot connect to database 'no_such_database' at " in str(caught.value)
    assert 'database "no_such_database" does not exist' in str(caught.value)


def test_connections_have_the_time_outs_and_speak_utc_at_read_committed(engine: sa.Engine) -> None:
    expected = {
        "lock_timeout": "50ms",
        "statement_timeout": "300ms",
        "idle_in_transaction_session_timeout": "300ms",
        "timezone": "UTC",
        "application_name": "flowshift test",
        "transaction_isolation": "read committed",
        "client_encoding": "UTF8",
    }

    with engine.connect() as connection:
        found = {
            name: connection.execute(sa.text(f"SHOW {name}")).scalar_one() for name in expected
        }

    assert found == expected


def test_options_of_the_url_are_kept_beside_ours(empty_database: str) -> None:
    url = database_url(empty_database).update_query_dict({"options": "-c work_mem=7MB"})
    engine = create_engine(
        url, lock_timeout_ms=50, statement_timeout_ms=300, application_name="test"
    )

    with engine.connect() as connection:
        shown = [
            connection.execute(sa.text(f"SHOW {name}")).scalar_one()
            for name in ("work_mem", "lock_timeout")
        ]
    engine.dispose()

    assert shown == ["7MB", "50ms"]


def test_waiting_too_long_for_a_lock_is_transient(engine: sa.Engine) -> None:
    with engine.connect() as one, engine.connect() as other:
        one.execute(sa.text("SELECT pg_advisory_xact_lock(1)"))

        with pytest.raises(TransientError, match="55P03"), map_database_errors():
            other.execute(sa.text("SELECT pg_advisory_xact_lock(1)"))


def test_a_statement_that_runs_too_long_is_transient(engine: sa.Engine) -> None:
    with (
        engine.connect() as connection,
        pytest.raises(TransientError, match="57014"),
        map_database_errors(),
    ):
        connection.execute(sa.text("SELECT pg_sleep(5)"))


def test_a_connection_that_the_server_ends_is_transient_and_replaced(engine: sa.Engine) -> None:
    with engine.connect() as doomed, engine.connect() as other:
        pid = doomed.execute(sa.text("SELECT pg_backend_pid()")).scalar_one()
        other.execute(sa.text("SELECT pg_terminate_backend(:pid)"), {"pid": pid})

        with pytest.raises(TransientError), map_database_errors():
            doomed.execute(sa.text("SELECT 1"))
        with pytest.raises(TransientError), map_database_errors():
            doomed.execute(sa.text("SELECT 1"))

    with engine.connect() as connection:
        assert connection.execute(sa.text("SELECT 1")).scalar_one() == 1


def test_an_idle_connection_that_died_in_the_pool_goes_unnoticed(engine: sa.Engine) -> None:
    with engine.connect() as pooled:
        pid = pooled.execute(sa.text("SELECT pg_backend_pid()")).scalar_one()
    killer = create_engine(
        engine.url, lock_timeout_ms=50, statement_timeout_ms=3_000, application_name="test"
    )
    with killer.connect() as connection:
        connection.execute(sa.text("SELECT pg_terminate_backend(:pid)"), {"pid": pid})
    killer.dispose()

    with engine.connect() as connection:
        assert connection.execute(sa.text("SELECT 1")).scalar_one() == 1


def test_data_that_does_not_fit_is_not_transient_and_its_error_shows_no_parameters(
    engine: sa.Engine,
) -> None:
    with (
        engine.connect() as connection,
        pytest.raises(sa.exc.DataError) as caught,
        map_database_errors(),
    ):
        connection.execute(
            sa.text("SELECT CAST(:value AS integer), CAST(:body AS text)"),
            {"value": "no number", "body": "s3cret"},
        )

    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize("order", [KeyboardInterrupt, SystemExit])
def test_ctrl_c_and_the_order_to_stop_are_raised_though_the_driver_hides_them(
    engine: sa.Engine, order: type[BaseException]
) -> None:
    class Stopped(psycopg.Cursor[Any]):
        """Told to stop between sending a statement and waiting for its answer."""

        def execute(self, *_: Any, **__: Any) -> Any:
            self.connection.pgconn.send_query(b"SELECT 1")
            raise order

    with engine.connect() as connection:
        driver(connection).cursor_factory = Stopped
    # The pool tries the connection before it gives it out again, and wants to tidy it up after that.
    with pytest.raises(sa.exc.ProgrammingError, match="transaction status ACTIVE"):
        engine.connect()
    engine.dispose()
    with engine.connect() as connection:
        driver(connection).cursor_factory = Stopped

    with pytest.raises(order), map_database_errors(), engine.connect():
        pass


def test_rows_that_are_no_longer_read_while_the_server_went_away_are_a_passing_error(
    fleet: Fleet,
) -> None:
    """A batch that fails closes what it reads from: that must not end its worker's task."""
    ids = fleet.add_many(3)
    cursors: list[psycopg.ServerCursor[Any]] = []

    class Kept(psycopg.ServerCursor[Any]):
        def __init__(self, *arguments: Any, **options: Any) -> None:
            super().__init__(*arguments, **options)
            cursors.append(self)

    @map_database_errors()
    def read_and_lose_the_connection() -> None:
        with fleet.engine.connect() as connection:
            driver(connection).server_cursor_factory = Kept
            chunks = read_chunks(connection, after=None, through=None, bot_ids=ids)
            assert len(next(chunks)) == 3
            pid = driver(connection).info.backend_pid
            assert fleet.rows("SELECT pg_terminate_backend(:pid, 10000) AS ended", pid=pid)[0].ended
            chunks.close()

    with pytest.raises(TransientError):
        read_and_lose_the_connection()
    for cursor in cursors:  # the driver warns of one that could not be closed
        cursor.close()


def test_an_order_to_stop_that_is_being_followed_is_not_raised_again(engine: sa.Engine) -> None:
    @map_database_errors()
    def take_too_long() -> None:
        with engine.connect() as connection:
            connection.execute(sa.text("SELECT pg_sleep(5)"))

    try:
        raise SystemExit
    except SystemExit:
        with pytest.raises(TransientError):
            take_too_long()
