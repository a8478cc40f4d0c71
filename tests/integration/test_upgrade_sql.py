"""`flowshift db upgrade --sql`: what an administrator runs by psql ends as the upgrade itself does."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.script import ScriptDirectory
from alembic.util import CommandError

from migrations import known, upgrade
from tests import platforms
from tests.conftest import drop_database, make_database
from tests.integration.conftest import Run
from tests.integration.test_migrations import (
    PLATFORM_DATA,
    Catalog,
    alembic,
    an_engine,
    catalog,
    checksums,
    created,
    make_platform,
    rows,
    run,
    run_script,
)
from tests.roles import psql
from worker.db.schema.check import check
from worker.errors import UsageError

REVISIONS = [
    script.revision
    for script in ScriptDirectory.from_config(upgrade.alembic_config()).walk_revisions()
]

STRANGE = """
CREATE SCHEMA "It's
DROP TABLE bots; -- 100%%";
SET LOCAL search_path = "It's
DROP TABLE bots; -- 100%%";
"""

DATABASES = {
    "nothing": "",
    "users and bots alone": "platform json",
    "jsonb, and the V2 tables under other names": "platform jsonb v2",
    "V2 tables without their indexes": """
        DROP INDEX ix_one_draft; DROP INDEX ix_nodes_run; DROP INDEX ix_runs_created;
        ALTER TABLE bot_workflow_versions DROP CONSTRAINT bot_workflow_versions_version_bot_id_key;
    """,
    "a name of ours that the platform uses": """
        DROP INDEX ix_nodes_run; CREATE INDEX idx_node_exec_run_id ON workflow_node_executions (node_id);
    """,
}


def prepare(engine: sa.Engine, kind: str) -> None:
    said = DATABASES[kind]
    if said == "":
        return
    is_type = said.startswith("platform")
    make_platform(
        engine,
        workflow_type="jsonb" if "jsonb" in said else "json",
        with_v2_tables=not is_type or "v2" in said,
    )
    if not is_type:
        run_script(engine, said)


@pytest.fixture
def pair(admin: sa.Engine) -> Iterator[tuple[sa.Engine, sa.Engine]]:
    """Two databases: one for the upgrade itself, one for its SQL."""
    with contextlib.ExitStack() as stack:
        engines = []
        for _ in range(2):
            url = make_database(admin)
            stack.callback(drop_database, admin, url)
            engines.append(stack.enter_context(an_engine(url)))
        yield engines[0], engines[1]


def run_printed(engine: sa.Engine, directory: Path) -> str:
    """Print the upgrade, which changes nothing, and run what was printed with psql."""
    before = catalog(engine)
    text = upgrade.upgrade_sql(engine)
    assert catalog(engine) == before
    file = directory / "upgrade.sql"
    file.write_text(text, "utf-8")
    url = engine.url.render_as_string(hide_password=False)
    done = psql(url, "--quiet", "--set=ON_ERROR_STOP=1", f"--file={file}")
    assert done.returncode == 0, done.stderr + text
    return text


def everything(engine: sa.Engine) -> tuple[Catalog, set[tuple[object, ...]], str | None]:
    return catalog(engine), created(engine), upgrade.current(engine)


def is_ready(engine: sa.Engine) -> bool:
    with engine.connect() as connection:
        found = check(connection, known.revisions())
    assert found.problems == ()
    return found.ready


@pytest.mark.parametrize("kind", DATABASES)
def test_what_is_printed_does_what_the_upgrade_does(
    pair: tuple[sa.Engine, sa.Engine], kind: str, tmp_path: Path
) -> None:
    real, printed = pair
    for engine in pair:
        prepare(engine, kind)
    tables = PLATFORM_DATA if DATABASES[kind] else ()
    before = checksums(printed, tables)

    upgrade.upgrade(real)
    run_printed(printed, tmp_path)

    assert everything(printed) == everything(real)
    assert checksums(printed, tables) == before
    assert is_ready(printed)
    assert upgrade.upgrade_sql(printed).startswith("-- the database ")  # and nothing besides
    assert "nothing to do" in upgrade.upgrade_sql(printed)
    upgrade.upgrade(printed)
    assert everything(printed) == everything(real)


@pytest.mark.parametrize("revision", REVISIONS)
def test_a_database_that_is_partly_upgraded_gets_the_rest(
    pair: tuple[sa.Engine, sa.Engine], revision: str, tmp_path: Path
) -> None:
    real, printed = pair
    for engine in pair:
        make_platform(engine)
        upgrade.upgrade(engine, revision)

    upgrade.upgrade(real)
    text = run_printed(printed, tmp_path)

    assert everything(printed) == everything(real)
    assert is_ready(printed)
    assert f"-> {revision}" not in text


@pytest.mark.parametrize("with_platform", [False, True])
def test_after_a_downgrade_it_can_be_printed_again(
    pair: tuple[sa.Engine, sa.Engine], with_platform: bool, tmp_path: Path
) -> None:
    real, printed = pair
    for engine in pair:
        if with_platform:
            make_platform(engine)
        upgrade.upgrade(engine)
        upgrade.downgrade(engine, "base")

    upgrade.upgrade(real)
    run_printed(printed, tmp_path)

    assert everything(printed) == everything(real)


def test_what_was_run_in_part_is_left_out_the_next_time(
    pair: tuple[sa.Engine, sa.Engine], tmp_path: Path
) -> None:
    real, printed = pair
    for engine in pair:
        prepare(engine, "V2 tables without their indexes")
    upgrade.upgrade(real)
    insert = (
        "INSERT INTO bot_workflow_versions (id, bot_id, version, status, graph, created_at, updated_at)"
        " VALUES (gen_random_uuid(), 'bot-1', 'draft-2', 'draft', '{}', now(), now())"
    )
    text = upgrade.upgrade_sql(printed)
    run(printed, insert)  # a second draft arrives before the file is run
    file = tmp_path / "upgrade.sql"
    file.write_text(text, "utf-8")
    url = printed.url.render_as_string(hide_password=False)
    done = psql(url, "--quiet", "--set=ON_ERROR_STOP=1", f"--file={file}")
    assert done.returncode == 3
    assert "could not create unique index" in done.stderr

    with pytest.raises(UsageError, match="1 bot has more than one draft"):
        upgrade.upgrade_sql(printed)
    run(printed, "DELETE FROM bot_workflow_versions WHERE version = 'draft-2'")
    again = run_printed(printed, tmp_path)

    assert "ALTER TABLE public.bots ADD COLUMN" not in again
    assert "DROP INDEX CONCURRENTLY IF EXISTS public.uq_bot_workflow_versions_draft;" in again
    assert everything(printed) == everything(real)


def test_a_schema_with_a_strange_name_is_quoted(
    pair: tuple[sa.Engine, sa.Engine], tmp_path: Path
) -> None:
    for engine in pair:
        run_script(engine, STRANGE + platforms.TABLES.format(**platforms.USUAL))
        name = engine.url.database
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.exec_driver_sql(
                f'ALTER DATABASE {name} SET search_path = "It\'s\nDROP TABLE bots; -- 100%%"'
            )
        engine.dispose()
    real, printed = pair
    upgrade.upgrade(real)
    run_printed(printed, tmp_path)
    assert everything(printed) == everything(real)


def test_builds_beside_the_traffic_are_outside_of_transactions_and_say_so(
    pair: tuple[sa.Engine, sa.Engine],
) -> None:
    engine, _ = pair
    prepare(engine, "V2 tables without their indexes")
    text = upgrade.upgrade_sql(engine)
    inside = 0
    built = 0
    for line in text.splitlines():
        inside += {"BEGIN;": 1, "COMMIT;": -1}.get(line, 0)
        assert inside in (0, 1), text
        if "INDEX CONCURRENTLY" in line and not line.startswith("--"):
            assert inside == 0, line
            built += "CREATE " in line
    assert built >= 4
    assert inside == 0
    assert text.count("-- outside of a transaction, beside the traffic") == built


def test_a_file_that_was_printed_for_another_state_stops_at_once(
    pair: tuple[sa.Engine, sa.Engine], tmp_path: Path
) -> None:
    ahead, behind = pair
    upgrade.upgrade(behind, "0003")
    for other, wanted in ((behind, "revision 0003"), (ahead, "without flowshift")):
        file = tmp_path / "upgrade.sql"
        file.write_text(upgrade.upgrade_sql(other), "utf-8")
        target = ahead if other is behind else behind
        if other is behind:
            upgrade.upgrade(ahead, "0002")
        before = catalog(target)
        url = target.url.render_as_string(hide_password=False)
        done = psql(url, "--quiet", "--set=ON_ERROR_STOP=1", f"--file={file}")
        assert (done.returncode, wanted in done.stderr) == (3, True), done.stderr
        assert catalog(target) == before
        run_script(ahead, "DROP SCHEMA IF EXISTS flowshift CASCADE")
        run_script(ahead, "DROP SCHEMA public CASCADE; CREATE SCHEMA public")


def test_what_a_person_has_to_settle_stops_the_printing_too(
    pair: tuple[sa.Engine, sa.Engine],
) -> None:
    engine, _ = pair
    make_platform(engine)
    run(engine, "ALTER TABLE bots DROP workflow")
    with pytest.raises(UsageError, match="- bots has no column workflow"):
        upgrade.upgrade_sql(engine)


# -- the commands ----------------------------------------------------------------------------------


def test_the_command_prints_sql_alone_and_takes_a_revision(
    flowshift: Run, admin: sa.Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = make_database(admin)
    try:
        monkeypatch.setenv("FLOWSHIFT_DATABASE_URL", url)
        code, out, err = flowshift("db", "upgrade", "--sql", "--revision", "0002")
        assert (code, err) == (0, "")
        assert out.startswith("-- flowshift db upgrade --sql\n")
        assert "-- Running upgrade 0001 -> 0002" in out
        assert "-> 0003" not in out
        flowshift("db", "upgrade")
        code, _, err = flowshift("db", "upgrade", "--sql", "--revision", "0002")
        assert code == 2
        assert "only an upgrade can be printed" in err
        code, out, _ = flowshift("db", "upgrade", "--sql")
        assert (code, out.count("\n")) == (0, 1)
        assert out.endswith(f"is at revision {known.head()}: nothing to do\n")
    finally:
        drop_database(admin, url)


def test_alembics_own_option_prints_the_same(pair: tuple[sa.Engine, sa.Engine]) -> None:
    engine, _ = pair
    make_platform(engine)
    process = alembic(engine.url.render_as_string(hide_password=False), "upgrade", "head", "--sql")
    out, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (0, "")
    assert out == upgrade.upgrade_sql(engine)
    assert rows(engine, "SELECT to_regnamespace('flowshift')::text") == [(None,)]


def test_alembic_cannot_print_a_downgrade_or_start_elsewhere(
    pair: tuple[sa.Engine, sa.Engine],
) -> None:
    engine, _ = pair
    upgrade.upgrade(engine)
    config = upgrade.alembic_config()
    with engine.connect() as connection:
        config.attributes["connection"] = connection
        with pytest.raises(CommandError, match="only an upgrade can be printed"):
            command.downgrade(config, f"{known.head()}:base", sql=True)
        with pytest.raises(CommandError, match="not 0003: leave the start out"):
            command.upgrade(config, "0003:head", sql=True)


def test_a_list_of_what_is_to_be_settled_is_printed_in_its_lines(
    flowshift: Run, admin: sa.Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = make_database(admin)
    try:
        with an_engine(url) as engine:
            make_platform(engine)
            run(engine, "ALTER TABLE bots DROP workflow CASCADE, DROP name CASCADE")
        monkeypatch.setenv("FLOWSHIFT_DATABASE_URL", url)
        for arguments in (("db", "upgrade"), ("db", "upgrade", "--sql")):
            code, _, err = flowshift(*arguments)
            assert code == 2
            for column in ("name", "workflow"):
                assert f"\n- bots has no column {column}: add it" in err
    finally:
        drop_database(admin, url)
