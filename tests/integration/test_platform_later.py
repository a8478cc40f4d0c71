"""The platform's own migration for V2, before and after flowshift's.

The ways are those of docs/how-to/platform-migration.md.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from sqlalchemy import exc

from migrations import known, upgrade
from tests.fleet import Fleet, a_workflow
from tests.integration.test_migrations import (
    V2_TABLES,
    an_engine,
    catalog,
    created,
    rows,
    run_script,
)
from worker.db.schema.check import check
from worker.errors import UsageError

BEFORE = """
CREATE TABLE users (id serial PRIMARY KEY, uuid varchar(36) UNIQUE NOT NULL);
INSERT INTO users (uuid) VALUES ('00000000-0000-0000-0000-000000000001');
CREATE TABLE bots (
    id serial PRIMARY KEY,
    bot_id varchar(50) NOT NULL UNIQUE,
    user_id integer NOT NULL DEFAULT 1 REFERENCES users (id) ON DELETE CASCADE,
    name varchar(100) NOT NULL,
    workflow json,
    created_at timestamptz DEFAULT now(),
    updated_at timestamptz DEFAULT now()
);
CREATE TABLE alembic_version (version_num varchar(32) PRIMARY KEY);
INSERT INTO alembic_version VALUES ('before_v2');
"""

# What it begins with, which is as far as it gets where flowshift was first.
COLUMN = "ALTER TABLE bots ADD COLUMN use_workflow_v2 boolean NOT NULL DEFAULT false"
TABLE = "CREATE TABLE bot_workflow_versions (id uuid PRIMARY KEY)"
BACKUP_COLUMN = "ALTER TABLE bots ADD COLUMN legacy_workflow json"
WHOLE = f"{COLUMN}; {BACKUP_COLUMN}; {V2_TABLES.partition('INSERT INTO')[0]}"

PLATFORM_ENV = """
from alembic import context
with context.config.attributes["engine"].connect() as connection:
    context.configure(connection=connection)
    with context.begin_transaction():
        context.run_migrations()
"""
PLATFORM_REVISION = """
from alembic import op
revision, down_revision = {revision!r}, {down_revision!r}
def upgrade():
    for statement in {statements!r}:
        op.execute(statement)
"""


@pytest.fixture
def database(empty_database: str) -> str:
    """A platform's database before its V2: users and bots."""
    with an_engine(empty_database) as engine:
        run_script(engine, BEFORE)
    return empty_database


@pytest.fixture
def engine(database: str) -> Iterator[sa.Engine]:
    with an_engine(database) as engine:
        yield engine


def platforms_alembic(engine: sa.Engine, directory: Path) -> Config:
    """The platform's own Alembic, with a revision for V2 to run."""
    versions = directory / "versions"
    versions.mkdir()
    (directory / "env.py").write_text(PLATFORM_ENV)
    for revision, down, statements in (
        ("before_v2", None, []),
        ("v2", "before_v2", [COLUMN, TABLE]),
    ):
        text = PLATFORM_REVISION.format(
            revision=revision, down_revision=down, statements=statements
        )
        (versions / f"{revision}.py").write_text(text)
    config = Config()
    config.set_main_option("script_location", str(directory))
    config.set_main_option("path_separator", "os")
    config.attributes["engine"] = engine
    return config


def is_ready(engine: sa.Engine) -> bool:
    with engine.connect() as connection:
        found = check(connection, known.revisions())
    assert found.problems == ()
    return found.ready


def documented_handover() -> str:
    text = (Path(__file__).parents[2] / "docs" / "how-to" / "platform-migration.md").read_text()
    _, _, after = text.partition("-- from now on the columns and tables are the platform's\n")
    return after.partition("\n")[0]


# -- the platform first ----------------------------------------------------------------------------


def test_the_platform_first_is_adopted(engine: sa.Engine) -> None:
    run_script(engine, WHOLE)
    before = catalog(engine)

    upgrade.upgrade(engine)

    assert before <= catalog(engine)
    assert created(engine) == set()
    assert is_ready(engine)


def test_a_table_of_the_platforms_that_lacks_columns_is_named_and_nothing_changed(
    engine: sa.Engine,
) -> None:
    run_script(engine, f"{COLUMN}; {TABLE}")
    before = catalog(engine)
    with pytest.raises(UsageError, match="bot_workflow_versions has no column graph"):
        upgrade.upgrade(engine)
    assert catalog(engine) == before


# -- flowshift first -------------------------------------------------------------------------------


@pytest.mark.parametrize("statement", [COLUMN, TABLE])
def test_flowshift_first_makes_the_platforms_migration_fail_and_nothing_is_lost(
    engine: sa.Engine, fleet: Fleet, statement: str
) -> None:
    upgrade.upgrade(engine)
    before = catalog(engine)
    with pytest.raises(exc.ProgrammingError, match="already exists"):
        run_script(engine, statement)
    assert catalog(engine) == before
    fleet.add("a", a_workflow())
    assert fleet.run().counts.converted == 1


def test_with_nothing_converted_the_downgrade_makes_room(engine: sa.Engine) -> None:
    upgrade.upgrade(engine)
    upgrade.downgrade(engine, "base")

    run_script(engine, WHOLE)
    upgrade.upgrade(engine)

    assert is_ready(engine)
    assert created(engine) == set()


def converted(engine: sa.Engine, fleet: Fleet) -> None:
    """A database where flowshift was first and has converted a bot."""
    upgrade.upgrade(engine)
    fleet.add("a", a_workflow())
    assert fleet.run().counts.converted == 1
    with pytest.raises(exc.ProgrammingError, match="already exists"):
        run_script(engine, f"{COLUMN}; {TABLE}")


def hand_over(engine: sa.Engine) -> None:
    """Once what was created is handed over, no downgrade drops it, full or empty."""
    run_script(engine, documented_handover())
    assert {kind for kind, _ in created(engine)} <= {"index"}
    run_script(
        engine,
        "TRUNCATE bot_workflow_versions CASCADE; UPDATE bots SET legacy_workflow = NULL",
    )
    upgrade.downgrade(engine, "base")
    columns = rows(
        engine,
        "SELECT column_name FROM information_schema.columns WHERE table_schema = 'public'"
        " AND table_name = 'bots' AND column_name IN ('use_workflow_v2', 'legacy_workflow')",
    )
    assert len(columns) == 2
    assert rows(engine, "SELECT to_regclass('bot_workflow_versions')::text") == [
        ("bot_workflow_versions",)
    ]


def test_the_downgrade_is_no_way_out_once_there_are_drafts(engine: sa.Engine, fleet: Fleet) -> None:
    converted(engine, fleet)
    fleet.engine.dispose()
    upgrade.downgrade(engine, "base")
    with pytest.raises(exc.ProgrammingError, match="already exists"):
        run_script(engine, TABLE)


def test_a_migration_with_if_not_exists_accepts_what_is_there(
    engine: sa.Engine, fleet: Fleet
) -> None:
    converted(engine, fleet)
    before = catalog(engine)

    own = "ALTER TABLE bot_workflow_versions ADD COLUMN team_name varchar(100)"
    tolerant = (
        f"{COLUMN}; {TABLE}; {own}".replace("ADD COLUMN", "ADD COLUMN IF NOT EXISTS")
    ).replace("CREATE TABLE", "CREATE TABLE IF NOT EXISTS")
    run_script(engine, tolerant)

    new = {row[:3] for row in catalog(engine) - before}
    assert new == {("columns", "bot_workflow_versions", "team_name")}
    assert is_ready(engine)
    assert fleet.run().counts.unchanged == 1
    fleet.engine.dispose()
    hand_over(engine)


def test_a_migration_that_is_stamped_accepts_what_is_there(
    engine: sa.Engine, fleet: Fleet, tmp_path: Path
) -> None:
    converted(engine, fleet)
    config = platforms_alembic(engine, tmp_path)
    with pytest.raises(exc.ProgrammingError, match="already exists"):
        command.upgrade(config, "head")
    before = catalog(engine)

    command.stamp(config, "v2")

    assert rows(engine, "SELECT version_num FROM public.alembic_version") == [("v2",)]
    command.upgrade(config, "head")  # nothing is left to do
    assert catalog(engine) == before
    assert upgrade.current(engine) == known.head()
    assert is_ready(engine)
    assert fleet.run().counts.unchanged == 1
    fleet.engine.dispose()
    hand_over(engine)
