"""A standby: a streaming replica of PostgreSQL's own, which can be read and never written."""

from __future__ import annotations

import json
from collections.abc import Iterator

import psycopg
import pytest

from migrations import known, upgrade
from tests import platforms
from tests.integration.conftest import Run
from tests.integration.test_sessions import an_engine
from tests.live import eventually
from tests.servers import PrivatePostgres, PrivateStandby, private_servers
from worker.db.engine import database_url

NAME = "platform"


@pytest.fixture(scope="module")
def primary(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrivatePostgres]:
    """A server with a platform of five bots."""
    with private_servers(tmp_path_factory.mktemp("primary")) as servers:
        with psycopg.connect(servers.postgres.url, autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {NAME}")
        with an_engine(url_of(servers.postgres)) as engine:
            platforms.make(engine, bots=5)
        yield servers.postgres


@pytest.fixture(scope="module")
def standby(
    primary: PrivatePostgres, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[PrivateStandby]:
    """Its replica."""
    server = PrivateStandby(tmp_path_factory.mktemp("standby"), primary)
    try:
        server.start()
        yield server
    finally:
        server.close()


def url_of(server: PrivatePostgres | PrivateStandby) -> str:
    url = database_url(server.url).set(database=NAME, drivername="postgresql")
    return url.render_as_string(hide_password=False)


def test_the_check_of_a_standby_says_where_to_connect(
    standby: PrivateStandby, flowshift: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FLOWSHIFT_DATABASE_URL", url_of(standby))
    code, out, _ = flowshift("db", "check", "--json")
    assert code == 3
    found = json.loads(out)
    assert (
        "the server is a standby, where nothing can be written: connect to the primary"
        in found["problems"]
    )


@pytest.mark.parametrize("dry_run", [(), ("--dry-run",)])
def test_a_run_on_a_standby_is_refused_in_a_sentence_and_nothing_is_started(
    primary: PrivatePostgres,
    standby: PrivateStandby,
    flowshift: Run,
    monkeypatch: pytest.MonkeyPatch,
    dry_run: tuple[str, ...],
) -> None:
    monkeypatch.setenv("FLOWSHIFT_DATABASE_URL", url_of(standby))
    for command in (("migrate", "--detach", *dry_run), ("prune",)):
        code, _, err = flowshift(*command)
        assert code == 3, command
        assert "read-only transaction" in err, (command, err)
        assert "connect to the primary" in err, (command, err)
        assert "Traceback" not in err, (command, err)
    with psycopg.connect(url_of(primary)) as connection:
        row = connection.execute("SELECT count(*) FROM flowshift.runs").fetchone()
    assert row == (0,)


def test_what_the_primary_writes_can_be_looked_at_on_the_standby(
    primary: PrivatePostgres,
    standby: PrivateStandby,
    flowshift: Run,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with psycopg.connect(url_of(primary), autocommit=True) as connection:
        connection.execute("UPDATE bots SET name = 'seen' WHERE bot_id = 'bot_0003'")

    def has_arrived() -> bool:
        with psycopg.connect(url_of(standby)) as connection:
            row = connection.execute("SELECT name FROM bots WHERE bot_id = 'bot_0003'").fetchone()
        return row == ("seen",)

    eventually(has_arrived)
    monkeypatch.setenv("FLOWSHIFT_DATABASE_URL", url_of(standby))
    for command in (("status",), ("show", "bot_0003"), ("runs",), ("prune", "--dry-run")):
        code, out, err = flowshift(*command)
        assert code == 0, (command, out, err)


def test_of_a_standby_and_a_primary_the_primary_can_be_asked_for(
    primary: PrivatePostgres, standby: PrivateStandby
) -> None:
    hosts = ",".join(str(database_url(server.url).query["host"]) for server in (standby, primary))
    both = database_url(url_of(standby)).update_query_dict(
        {"host": hosts, "port": "5432,5432", "target_session_attrs": "primary"}
    )
    with an_engine(both.render_as_string(hide_password=False)) as engine:
        assert upgrade.current(engine) == known.head()
        with engine.begin() as connection:
            written = connection.exec_driver_sql("UPDATE bots SET name = name").rowcount
    assert written == 5
