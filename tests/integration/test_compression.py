"""Large values are compressed as the setting says, with lz4 and without, also through poolers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import msgspec
import psycopg
import pytest
import sqlalchemy as sa
from sqlalchemy import event

from bench import peer
from bench.floor import load_fleet, measure_floor
from tests.fleet import Fleet, a_workflow
from tests.integration.conftest import Run
from tests.pooler import Mind, minding
from tests.servers import INSTALLED, InstalledPostgres
from worker import runtime
from worker.db.compression import Compression
from worker.db.engine import create_engine, database_url
from worker.errors import ConfigError
from worker.settings import Settings

METHODS = "SELECT enumvals FROM pg_settings WHERE name = 'default_toast_compression'"
LONG = "".join(f"{number} {{context}} {number * number}\n" for number in range(1_000))


def has_lz4(url: str) -> bool:
    """Whether a server was built with lz4."""
    plain = database_url(url).set(drivername="postgresql").render_as_string(hide_password=False)
    with psycopg.connect(plain) as connection:
        row = connection.execute(METHODS).fetchone()
    return row is not None and "lz4" in row[0]


@pytest.fixture(scope="module")
def with_lz4(server_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a server with lz4: the one of the tests, or one of the system's packages."""
    if has_lz4(server_url):
        yield server_url
        return
    if INSTALLED is None:
        pytest.skip("neither the server nor an installed one has lz4")
    server = InstalledPostgres(tmp_path_factory.mktemp("lz4"))
    try:
        server.start()
        yield server.make_database("compressed")
    finally:
        server.close()


@contextmanager
def a_fleet(settings: Settings, **changed: str) -> Iterator[Fleet]:
    """The bots of a database, converted by a process with these settings."""
    try:
        yield Fleet(runtime.configure(msgspec.structs.replace(settings, **changed)))
    finally:
        runtime.shutdown()


def stored(fleet: Fleet, like: str) -> dict[str, str | None]:
    """How the draft, the execution's graph and the backup of a bot are compressed."""
    row = fleet.rows(
        "SELECT pg_column_compression(d.graph) AS draft,"
        " pg_column_compression(r.graph_snapshot) AS execution,"
        " pg_column_compression(b.legacy_workflow) AS backup"
        " FROM bots b JOIN bot_workflow_versions d USING (bot_id)"
        " JOIN workflow_execution_runs r USING (bot_id) WHERE bot_id = :like",
        like=like,
    )[0]
    return dict(row._mapping)


def convert(fleet: Fleet, bot_id: str) -> None:
    fleet.add(bot_id, a_workflow(LONG))
    fleet.run(validate="all")


@pytest.mark.parametrize(("wanted", "method"), [("auto", "lz4"), ("lz4", "lz4"), ("pglz", "pglz")])
def test_drafts_and_executions_are_stored_as_the_setting_says(
    settings: Settings, with_lz4: str, wanted: Compression, method: str
) -> None:
    with a_fleet(settings, database_url=with_lz4, toast_compression=wanted) as fleet:
        convert(fleet, f"said-{wanted}")

        found = stored(fleet, f"said-{wanted}")

    assert (found["draft"], found["execution"]) == (method, method)


@pytest.mark.parametrize("mind", ["ignores", "refuses"])
def test_so_they_are_through_a_pooler_and_nothing_of_it_stays(
    settings: Settings, with_lz4: str, mind: Mind
) -> None:
    with (
        minding(with_lz4, mind) as url,
        a_fleet(settings, database_url=url, toast_compression="lz4") as fleet,
    ):
        convert(fleet, f"pooled-{mind}")
        found = stored(fleet, f"pooled-{mind}")
        with fleet.engine.connect() as connection:
            connection.execute(sa.text("SELECT 1"))
            connection.rollback()
            raw = connection.connection.dbapi_connection
            assert isinstance(raw, psycopg.Connection)
            raw.autocommit = True
            outside = raw.execute("SHOW default_toast_compression").fetchone()

    assert (found["draft"], outside) == ("lz4", ("pglz",))


def test_what_a_column_says_itself_counts_and_the_check_says_so(
    settings: Settings, with_lz4: str, flowshift: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    with a_fleet(settings, database_url=with_lz4) as fleet:
        fleet.execute("ALTER TABLE bot_workflow_versions ALTER graph SET COMPRESSION pglz")
        try:
            convert(fleet, "own")
            found = stored(fleet, "own")["draft"]
            monkeypatch.setenv("FLOWSHIFT_DATABASE_URL", with_lz4)
            _, out, _ = flowshift("db", "check")
        finally:
            fleet.execute("ALTER TABLE bot_workflow_versions ALTER graph SET COMPRESSION default")

    assert found == "pglz"
    said = " ".join(out.split())
    assert "large values are compressed by lz4 (FLOWSHIFT_TOAST_COMPRESSION)" in said
    assert "bot_workflow_versions.graph has a compression of its own, pglz" in said


def test_a_server_without_lz4_compresses_by_pglz_and_the_check_says_so(
    fleet: Fleet, settings: Settings, flowshift: Run
) -> None:
    if has_lz4(settings.database_url):
        pytest.skip("this server has lz4")
    convert(fleet, "a")

    assert stored(fleet, "a")["draft"] == "pglz"
    said = " ".join(flowshift("db", "check")[1].split())
    assert (
        "compressed by pglz (FLOWSHIFT_TOAST_COMPRESSION); this server was built without lz4"
        in said
    )


def test_lz4_is_refused_in_a_sentence_where_the_server_has_not_got_it(settings: Settings) -> None:
    if has_lz4(settings.database_url):
        pytest.skip("this server has lz4")
    engine = create_engine(
        database_url(settings.database_url),
        lock_timeout_ms=50,
        statement_timeout_ms=3_000,
        application_name="t",
        compression="lz4",
    )

    with pytest.raises(ConfigError, match="has not got") as caught:
        engine.connect()

    engine.dispose()
    assert caught.value.setting == "FLOWSHIFT_TOAST_COMPRESSION"


def test_the_yardsticks_of_the_bench_write_by_pglz_whatever_our_own_sessions_say(
    settings: Settings, with_lz4: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    found: dict[str, set[str]] = {}

    def look(connection: sa.Connection) -> None:
        if connection.scalar(sa.text("SELECT to_regclass('floor_versions') IS NOT NULL")):
            found["floor"] = methods_of(connection, "floor_versions")

    def migrate_and_look(engine: sa.Engine) -> peer.Result:
        result = migrate(engine)
        with engine.connect() as connection:
            found["peer"] = methods_of(connection, "peer_versions")
        return result

    migrate = peer.migrate
    monkeypatch.setattr(peer, "migrate", migrate_and_look)
    with a_fleet(settings, database_url=with_lz4, toast_compression="lz4") as fleet:
        load_fleet(fleet.engine, 50)
        event.listen(fleet.engine, "commit", look)
        measure_floor(fleet.engine)
        event.remove(fleet.engine, "commit", look)
        peer.measure_peer(fleet.engine)
        fleet.execute("DELETE FROM bots WHERE bot_id LIKE 'sample-%'")
    assert found == {"floor": {"pglz"}, "peer": {"pglz"}}


def methods_of(connection: sa.Connection, table: str) -> set[str]:
    """How the drafts of a table are compressed, those that are."""
    query = f"SELECT DISTINCT pg_column_compression(graph) FROM {table} WHERE status = 'draft'"
    return {method for (method,) in connection.execute(sa.text(query)) if method is not None}
