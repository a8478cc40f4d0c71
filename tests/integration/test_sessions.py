"""Sessions are as we need them: whatever has defaults of its own, and through poolers."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import msgspec
import psycopg
import pytest
import sqlalchemy as sa

from migrations import known, upgrade
from tests.fleet import Fleet
from tests.integration.conftest import Run
from tests.pooler import PGBOUNCER, Mind, minding, pgbouncer
from worker import runtime
from worker.db import session
from worker.db.engine import check_server, create_engine, database_url
from worker.db.hosts import place
from worker.db.schema.check import check
from worker.errors import ConfigError
from worker.settings import Settings

HOSTILE = {
    "datestyle": "'SQL, DMY'",
    "intervalstyle": "'iso_8601'",
    "timezone": "'Pacific/Chatham'",
    "client_encoding": "'LATIN1'",
    "default_transaction_read_only": "on",
    "default_transaction_isolation": "'serializable'",
    "default_transaction_deferrable": "on",
    "lock_timeout": "1",
    "statement_timeout": "'2h'",
    "idle_in_transaction_session_timeout": "500",
    "extra_float_digits": "-15",
    "bytea_output": "'escape'",
    "standard_conforming_strings": "off",
    "escape_string_warning": "off",
    "array_nulls": "off",
    "quote_all_identifiers": "on",
    "transform_null_equals": "on",
    "row_security": "off",
    "exit_on_error": "on",
    "plan_cache_mode": "'force_generic_plan'",
    "jit": "on",
}
WANTED = {
    "DateStyle": "ISO, MDY",
    "IntervalStyle": "postgres",
    "TimeZone": "UTC",
    "client_encoding": "UTF8",
    "transaction_read_only": "off",
    "transaction_isolation": "read committed",
    "transaction_deferrable": "off",
    "lock_timeout": "50ms",
    "statement_timeout": "3s",
    "idle_in_transaction_session_timeout": "3s",
    "extra_float_digits": "1",
    "bytea_output": "hex",
    "standard_conforming_strings": "on",
    "array_nulls": "on",
    "quote_all_identifiers": "off",
    "transform_null_equals": "off",
    "row_security": "on",
    "exit_on_error": "off",
    "plan_cache_mode": "auto",
    "jit": "off",
}


def spoil(fleet_or_url: str, name: str) -> None:
    """Give a database defaults that change how nearly everything is read and written."""
    with psycopg.connect(fleet_or_url, autocommit=True) as connection:
        for setting, value in HOSTILE.items():
            connection.execute(f"ALTER DATABASE {name} SET {setting} = {value}".encode())


@contextmanager
def an_engine(url: str) -> Iterator[sa.Engine]:
    engine = create_engine(
        database_url(url), lock_timeout_ms=50, statement_timeout_ms=3_000, application_name="t"
    )
    try:
        yield engine
    finally:
        engine.dispose()


def shown(connection: sa.Connection, *names: str) -> dict[str, str]:
    return {name: connection.exec_driver_sql(f"SHOW {name}").scalar_one() for name in names}


def libpq(url: str) -> str:
    return database_url(url).set(drivername="postgresql").render_as_string(hide_password=False)


@pytest.fixture
def spoiled(empty_database: str) -> str:
    spoil(libpq(empty_database), str(database_url(empty_database).database))
    return empty_database


def test_defaults_of_a_database_change_no_session(spoiled: str) -> None:
    with an_engine(spoiled) as engine, engine.connect() as connection:
        assert shown(connection, *WANTED) == WANTED
        assert session.has_own(connection)


@pytest.mark.parametrize("mind", ["ignores", "refuses"])
def test_nor_do_they_through_a_pooler_that_takes_no_options(spoiled: str, mind: Mind) -> None:
    with minding(spoiled, mind) as url, an_engine(url) as engine:
        check_server(engine)
        for _ in range(2):  # every transaction
            with engine.begin() as connection:
                assert shown(connection, *WANTED) == WANTED
                assert not session.has_own(connection)


@pytest.mark.parametrize("mind", ["ignores", "refuses"])
def test_a_pooler_keeps_nothing_of_ours_in_the_session_of_others(
    empty_database: str, mind: Mind
) -> None:
    with (
        minding(empty_database, mind) as url,
        an_engine(url) as engine,
        engine.connect() as connection,
    ):
        pooled: Any = connection.connection.dbapi_connection
        before = connection.exec_driver_sql("SHOW lock_timeout").scalar_one()
        connection.rollback()
        pooled.autocommit = True
        outside = pooled.execute("SHOW lock_timeout").fetchone()

    assert (before, outside) == ("50ms", ("0",))


@pytest.mark.parametrize("variable", ["PGTZ", "PGDATESTYLE"])
def test_what_libpq_sends_of_the_environment_changes_nothing(
    empty_database: str, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    monkeypatch.setenv(variable, {"PGTZ": "Asia/Seoul", "PGDATESTYLE": "German"}[variable])

    with an_engine(empty_database) as engine, engine.connect() as connection:
        assert shown(connection, "TimeZone", "DateStyle") == {
            "TimeZone": "UTC",
            "DateStyle": "ISO, MDY",
        }


@pytest.mark.parametrize("mind", [None, "ignores", "refuses"])
@pytest.mark.parametrize("by", ["PGOPTIONS", "URL"])
def test_a_search_path_that_a_person_gives_counts(
    empty_database: str, monkeypatch: pytest.MonkeyPatch, mind: Mind | None, by: str
) -> None:
    @contextmanager
    def reached() -> Iterator[str]:
        if mind is None:
            yield empty_database
            return
        with minding(empty_database, mind) as url:
            yield url

    options = r"-c search_path=app,\ public --work-mem=7MB -c lock_timeout=9"
    if by == "PGOPTIONS":
        monkeypatch.setenv("PGOPTIONS", options)
    with reached() as there:
        query = {"options": options} if by == "URL" else {}
        parts = database_url(there).update_query_dict(query)
        with (
            an_engine(parts.render_as_string(hide_password=False)) as engine,
            engine.connect() as connection,
        ):
            found = shown(connection, "search_path", "work_mem", "lock_timeout")

    assert found == {"search_path": "app, public", "work_mem": "7MB", "lock_timeout": "50ms"}


def test_an_option_that_cannot_be_set_later_is_refused_where_options_are(
    empty_database: str,
) -> None:
    with minding(empty_database, "refuses") as there:
        url = database_url(there).update_query_dict({"options": "-e"})
        with (
            an_engine(url.render_as_string(hide_password=False)) as engine,
            pytest.raises(ConfigError, match="-c name=value"),
        ):
            check_server(engine)


@pytest.mark.parametrize("mind", ["ignores", "refuses"])
def test_an_upgrade_asks_for_a_session_of_its_own(empty_database: str, mind: Mind) -> None:
    with (
        minding(empty_database, mind) as url,
        an_engine(url) as engine,
        pytest.raises(ConfigError, match=r"upgrade.* needs a session of its own.*pooler"),
    ):
        upgrade.upgrade(engine)


def test_the_check_says_that_a_pooler_is_in_between(database: str) -> None:
    with an_engine(database) as engine, engine.connect() as connection:
        assert "pooler" not in "".join(check(connection, known.revisions()).notes)
    with (
        minding(database, "ignores") as url,
        an_engine(url) as engine,
        engine.connect() as connection,
    ):
        found = check(connection, known.revisions())

    assert found.ready
    assert "pooler" in found.notes[0]
    assert "db upgrade" in found.notes[0]


@pytest.mark.parametrize("encoding", ["SQL_ASCII", "LATIN1"])
def test_a_database_with_another_encoding_is_refused(admin: sa.Engine, encoding: str) -> None:
    name = f"flowshift_test_{encoding.lower()}"
    with admin.connect() as connection:
        number = connection.exec_driver_sql("SHOW server_version_num").scalar_one()
        provider = "LOCALE_PROVIDER libc" if int(number) >= 150_000 else ""
        connection.exec_driver_sql(f"DROP DATABASE IF EXISTS {name}")
        connection.exec_driver_sql(
            f"CREATE DATABASE {name} TEMPLATE template0 ENCODING '{encoding}' "
            f"LC_COLLATE 'C' LC_CTYPE 'C' {provider}"
        )
        url = admin.url.set(database=name).render_as_string(hide_password=False)
        try:
            with an_engine(url) as engine, pytest.raises(ConfigError) as caught:
                check_server(engine)
        finally:
            connection.exec_driver_sql(f"DROP DATABASE {name} WITH (FORCE)")

    assert f"has the encoding {encoding}" in str(caught.value)
    assert caught.value.setting == "FLOWSHIFT_DATABASE_URL"


def test_sessions_without_foreign_keys_and_triggers_are_refused(
    admin: sa.Engine, empty_database: str
) -> None:
    name = database_url(empty_database).database
    with admin.connect() as connection:
        connection.exec_driver_sql(f"ALTER DATABASE {name} SET session_replication_role = replica")

    with an_engine(empty_database) as engine, pytest.raises(ConfigError, match="would not fire"):
        check_server(engine)


def test_of_two_hosts_one_of_which_is_dead_the_other_is_used(empty_database: str) -> None:
    with minding(empty_database, "ignores") as there, socket.socket() as dead:
        dead.bind(("127.0.0.1", 0))  # and listens to nobody
        url = database_url(there)
        user = f"{url.username}{f':{url.password}' if url.password else ''}"
        hosts = f"127.0.0.1:{dead.getsockname()[1]},localhost:{url.port}"
        raw = f"postgresql://{user}@{hosts}/{url.database}?target_session_attrs=read-write"
        with an_engine(raw) as engine:
            check_server(engine)

        where = place(database_url(raw))
    assert f"localhost:{url.port}" in where
    assert not url.password or url.password not in f"{where}{database_url(raw)}"


def test_a_run_and_a_prune_mind_no_hostile_defaults(
    fleet: Fleet, settings: Settings, flowshift: Run
) -> None:
    ids = fleet.add_many(4)
    spoil(libpq(settings.database_url), str(database_url(settings.database_url).database))
    fleet.current.engine.dispose()

    work(fleet, ids, flowshift)


def work(fleet: Fleet, ids: list[str], flowshift: Run) -> None:
    """Convert, prune, and look at it."""
    progress = fleet.run(validate="all")
    assert set(fleet.outcomes(progress.run_id).values()) == {"converted"}
    assert set(fleet.drafts()) == set(ids)
    fleet.execute("UPDATE workflow_execution_runs SET created_at = now() - interval '40 days'")
    for command in (("status",), ("show", ids[0]), ("executions",), ("db", "check"), ("prune",)):
        code, out, err = flowshift(*command)
        assert (code, err) == (0, ""), (command, out, err)
    assert fleet.rows("SELECT 1 FROM workflow_execution_runs") == []


@pytest.mark.skipif(PGBOUNCER is None, reason="no pgbouncer is installed here")
@pytest.mark.parametrize("ignore", [True, False], ids=["ignores", "refuses"])
def test_a_run_and_a_prune_go_through_pgbouncer(
    fleet: Fleet,
    settings: Settings,
    flowshift: Run,
    monkeypatch: pytest.MonkeyPatch,
    ignore: bool,
) -> None:
    ids = fleet.add_many(4)
    # (The relay, since the directory of a test's sockets lets no other user in.)
    with (
        minding(settings.database_url, "ignores") as relay,
        pgbouncer(relay, ignore=ignore) as url,
    ):
        pooled = msgspec.structs.replace(settings, database_url=url)
        monkeypatch.setenv("FLOWSHIFT_DATABASE_URL", url)
        work(Fleet(runtime.configure(pooled)), ids, flowshift)
        runtime.shutdown()
