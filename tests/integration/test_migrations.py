"""Migrations: a database of nothing, a platform's own database, and the way back."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest
import sqlalchemy as sa
from alembic import command

from migrations import known, operations
from migrations import upgrade as schema
from worker.db.engine import create_engine, database_url
from worker.db.models import metadata
from worker.errors import ConfigError, TransientError, UsageError

CHECKOUT = Path(__file__).parents[2]


@pytest.fixture
def engine(empty_database: str) -> Iterator[sa.Engine]:
    with an_engine(empty_database) as engine:
        yield engine


@contextmanager
def an_engine(url: str) -> Iterator[sa.Engine]:
    engine = create_engine(
        database_url(url),
        lock_timeout_ms=2_000,
        statement_timeout_ms=20_000,
        application_name="flowshift test",
    )
    try:
        yield engine
    finally:
        engine.dispose()


def run(engine: sa.Engine, sql: str, **values: object) -> None:
    with engine.begin() as connection:
        connection.execute(sa.text(sql), values)


def run_script(engine: sa.Engine, sql: str) -> None:
    with engine.begin() as connection:
        connection.exec_driver_sql(sql)


def rows(engine: sa.Engine, sql: str) -> list[tuple[Any, ...]]:
    with engine.connect() as connection:
        return [tuple(row) for row in connection.execute(sa.text(sql))]


# --- A platform's database, as the platform makes it -------------------------------------------

USERS = """
CREATE TABLE users (
    id serial PRIMARY KEY, uuid varchar(36) UNIQUE NOT NULL, email varchar(255) NOT NULL,
    created_at timestamp DEFAULT now()
);
INSERT INTO users (uuid, email) VALUES ('00000000-0000-0000-0000-000000000001', 'a@example.com');
"""

BOTS = """
CREATE TYPE botstatus AS ENUM ('DRAFT', 'ACTIVE', 'PAUSED');
CREATE TABLE bots (
    id bigserial PRIMARY KEY,
    bot_id varchar(50) NOT NULL,
    user_id integer {user_reference},
    name varchar(100) NOT NULL,
    description text, goal varchar(500), personality text,
    status botstatus NOT NULL DEFAULT 'ACTIVE',
    tags json DEFAULT '[]', category varchar(50), is_public boolean DEFAULT false,
    workflow {workflow_type},
    created_at timestamptz DEFAULT now(), updated_at timestamptz DEFAULT now()
);
CREATE UNIQUE INDEX ix_bots_bot_id ON bots (bot_id);
CREATE INDEX ix_bots_name ON bots (name);
CREATE VIEW public_bots AS SELECT bot_id, name FROM bots WHERE is_public;
CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS
    'BEGIN NEW.updated_at = now(); RETURN NEW; END';
CREATE TRIGGER bots_touch BEFORE UPDATE ON bots FOR EACH ROW EXECUTE FUNCTION touch();
CREATE TABLE documents (id serial PRIMARY KEY, bot_id varchar(50) REFERENCES bots (bot_id));
CREATE TABLE runs (id serial PRIMARY KEY, what text);
CREATE TABLE alembic_version (version_num varchar(32) PRIMARY KEY);
INSERT INTO alembic_version VALUES ('a1b2c3d4e5f6');
INSERT INTO bots (bot_id, name, workflow)
    SELECT 'bot-' || n, 'Bot ' || n,
           ('{{"nodes": [], "edges": [],  "n": ' || n || '.10}}')::{workflow_type}
    FROM generate_series(1, 50) AS n;
INSERT INTO documents (bot_id) VALUES ('bot-1'), ('bot-2');
INSERT INTO runs (what) VALUES ('the platform''s own runs');
"""

# The V2 tables as the platform makes them: ids and times come from its own code, and indexes have
# its own names.
V2_TABLES = """
CREATE TABLE bot_workflow_versions (
    id uuid PRIMARY KEY,
    bot_id varchar(50) NOT NULL REFERENCES bots (bot_id) ON DELETE CASCADE,
    version varchar(50) NOT NULL,
    status varchar(20) NOT NULL,
    graph jsonb NOT NULL,
    environment_variables jsonb, conversation_variables jsonb, features jsonb,
    created_by varchar(36),
    created_at timestamp NOT NULL, updated_at timestamp NOT NULL, published_at timestamp,
    library_name varchar(100), library_visibility varchar(20) DEFAULT 'private',
    is_in_library boolean NOT NULL DEFAULT false,
    UNIQUE (version, bot_id)
);
CREATE INDEX ix_versions_bot ON bot_workflow_versions USING btree (bot_id);
CREATE INDEX ix_versions_bot_status ON bot_workflow_versions (bot_id, status);
CREATE UNIQUE INDEX ix_one_draft ON bot_workflow_versions (bot_id) WHERE (status::text = 'draft');
CREATE TABLE workflow_execution_runs (
    id uuid PRIMARY KEY,
    bot_id varchar(50) NOT NULL REFERENCES bots (bot_id) ON DELETE CASCADE,
    workflow_version_id uuid REFERENCES bot_workflow_versions (id),
    session_id varchar(255), user_id varchar(36), graph_snapshot jsonb NOT NULL,
    inputs jsonb, outputs jsonb, status varchar(20) NOT NULL, error_message text,
    started_at timestamptz NOT NULL, finished_at timestamptz, elapsed_time integer,
    total_tokens integer, total_steps integer, created_at timestamptz NOT NULL, trace_url text
);
CREATE INDEX ix_runs_bot ON workflow_execution_runs (bot_id);
CREATE INDEX ix_runs_session ON workflow_execution_runs (session_id);
CREATE INDEX ix_runs_created ON workflow_execution_runs (created_at DESC);
CREATE TABLE workflow_node_executions (
    id uuid PRIMARY KEY,
    workflow_run_id uuid NOT NULL REFERENCES workflow_execution_runs (id) ON DELETE CASCADE,
    node_id varchar(255) NOT NULL, node_type varchar(50) NOT NULL, execution_order integer NOT NULL,
    inputs jsonb, outputs jsonb, process_data jsonb, status varchar(20) NOT NULL,
    error_message text, started_at timestamptz NOT NULL, finished_at timestamptz,
    elapsed_time integer, tokens_used integer, is_truncated boolean, truncated_fields jsonb,
    created_at timestamptz NOT NULL
);
CREATE INDEX ix_nodes_run ON workflow_node_executions (workflow_run_id);
INSERT INTO bot_workflow_versions
    (id, bot_id, version, status, graph, created_at, updated_at, library_name)
    VALUES (gen_random_uuid(), 'bot-1', 'draft', 'draft', '{"nodes": []}', now(), now(), 'mine'),
           (gen_random_uuid(), 'bot-1', 'v1.0', 'published', '{"nodes": []}', now(), now(), NULL);
"""


def make_platform(
    engine: sa.Engine,
    *,
    workflow_type: str = "json",
    with_users: bool = True,
    with_v2_tables: bool = False,
) -> None:
    if with_users:
        run_script(engine, USERS)
    reference = "REFERENCES users (id)" if with_users else ""
    run_script(engine, BOTS.format(workflow_type=workflow_type, user_reference=reference))
    if with_v2_tables:
        run_script(engine, V2_TABLES)


def insert_version(bot_id: str, version: str, status: str) -> sa.TextClause:
    """A version as the platform's own code writes it, with every value given."""
    return sa.text(
        "INSERT INTO bot_workflow_versions"
        " (id, bot_id, version, status, graph, created_at, updated_at)"
        " VALUES (gen_random_uuid(), :bot_id, :version, :status, '{}', now(), now())"
    ).bindparams(bot_id=bot_id, version=version, status=status)


# --- What a database holds, to compare before and after ----------------------------------------

CATALOG = {
    "columns": """
        SELECT c.oid::regclass::text, a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull,
               a.attidentity::text, pg_get_expr(d.adbin, d.adrelid)
        FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
        LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum
        WHERE c.relnamespace IN (SELECT oid FROM schemas) AND c.relkind IN ('r', 'v', 'p')
          AND a.attnum > 0 AND NOT a.attisdropped
    """,
    "constraints": """
        SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid)
        FROM pg_constraint
        WHERE connamespace IN (SELECT oid FROM schemas) AND contype <> 'n'  -- a column's, since 18
    """,
    "indexes": """
        SELECT indrelid::regclass::text, pg_get_indexdef(indexrelid), indisvalid
        FROM pg_index JOIN pg_class c ON c.oid = indexrelid
        WHERE c.relnamespace IN (SELECT oid FROM schemas)
    """,
    "others": """
        SELECT relkind::text, oid::regclass::text, pg_get_viewdef(oid) FROM pg_class
        WHERE relnamespace IN (SELECT oid FROM schemas) AND relkind IN ('v', 'S', 'm')
        UNION ALL
        SELECT 'trigger', tgname, pg_get_triggerdef(oid) FROM pg_trigger WHERE NOT tgisinternal
        UNION ALL
        SELECT 'enum', enumlabel, enumtypid::regtype::text FROM pg_enum
    """,
}
SCHEMAS = (
    "WITH schemas AS (SELECT oid FROM pg_namespace WHERE nspname NOT LIKE 'pg\\_%'"
    " AND nspname <> 'information_schema') "
)

Catalog = set[tuple[Any, ...]]


def catalog(engine: sa.Engine) -> Catalog:
    """Every column, constraint, index, view, sequence, trigger and enum outside the system."""
    return {
        (kind, *row) for kind, query in CATALOG.items() for row in rows(engine, SCHEMAS + query)
    }


def ours(found: Catalog) -> Catalog:
    return {row for row in found if any(str(value).startswith("flowshift.") for value in row)}


def checksums(engine: sa.Engine, tables: tuple[str, ...]) -> dict[str, str]:
    """The content of tables, whatever columns were added to `bots`."""
    leave_out = "ARRAY['use_workflow_v2', 'legacy_workflow']"
    return {
        table: rows(
            engine,
            f"SELECT count(*) || md5(string_agg(content, '' ORDER BY content)) FROM (SELECT"
            f" (to_jsonb(t) - {leave_out})::text AS content FROM {table} t) AS contents",
        )[0][0]
        for table in tables
    }


PLATFORM_DATA = ("bots", "documents", "runs", "alembic_version")

NEW_COLUMNS = {
    ("columns", "bots", "use_workflow_v2", "boolean", True, "", "false"),
    ("columns", "bots", "legacy_workflow", "json", False, "", None),
}


def created(engine: sa.Engine) -> set[tuple[Any, ...]]:
    return set(rows(engine, "SELECT kind, name FROM flowshift.created_objects"))


# --- From nothing -------------------------------------------------------------------------------


def test_the_migrations_create_exactly_what_the_models_say(engine: sa.Engine) -> None:
    schema.upgrade(engine)
    assert schema.current(engine) == known.head()
    migrated = catalog(engine)
    run_script(engine, "DROP SCHEMA flowshift CASCADE; DROP SCHEMA public CASCADE")
    run_script(engine, "CREATE SCHEMA flowshift; CREATE SCHEMA public")
    metadata.create_all(engine)

    modelled = catalog(engine)

    version_table = {row for row in migrated if "alembic_version" in str(row)}
    assert migrated - version_table == modelled
    assert len(modelled) > 100


def test_alembic_finds_nothing_to_generate(engine: sa.Engine) -> None:
    schema.upgrade(engine)
    config = schema.alembic_config()

    with engine.connect() as connection:
        config.attributes["connection"] = connection
        command.check(config)  # raises where models and database differ


def test_a_second_upgrade_changes_nothing(engine: sa.Engine) -> None:
    schema.upgrade(engine)
    before = catalog(engine)

    schema.upgrade(engine)

    assert catalog(engine) == before


def test_tables_go_where_bots_would_be_found_even_if_the_role_is_called_flowshift(
    empty_database: str,
) -> None:
    with an_engine(empty_database) as engine:
        run(engine, f"ALTER DATABASE {engine.url.database} SET search_path = flowshift, public")
    with an_engine(empty_database) as engine:
        schema.upgrade(engine)
        schema.downgrade(engine, "base")
        schema.upgrade(engine)

        assert rows(engine, "SELECT to_regclass('public.bots') IS NOT NULL") == [(True,)]
        assert rows(engine, "SELECT to_regclass('flowshift.bots') IS NULL") == [(True,)]


def test_up_down_up_from_nothing_leaves_only_the_version_table_between(engine: sa.Engine) -> None:
    schema.upgrade(engine)
    there = catalog(engine)

    schema.downgrade(engine, "base")
    between = {row[1] for row in catalog(engine)}
    schema.upgrade(engine)

    assert between == {"flowshift.alembic_version"}
    assert catalog(engine) == there


def test_a_created_table_that_holds_rows_survives_the_way_down_and_may_go_later(
    engine: sa.Engine,
) -> None:
    schema.upgrade(engine)
    there = catalog(engine)
    run(engine, "INSERT INTO bots (bot_id, name, workflow) VALUES ('b', 'B', '{}')")
    run(
        engine,
        "INSERT INTO bot_workflow_versions (bot_id, version, graph) VALUES ('b', 'draft', '{}')",
    )

    schema.downgrade(engine, "base")

    assert created(engine) == {
        ("table", "public.bots"),
        ("table", "public.bot_workflow_versions"),
    }
    assert rows(engine, "SELECT version FROM bot_workflow_versions") == [("draft",)]
    assert rows(engine, "SELECT to_regclass('workflow_execution_runs')") == [(None,)]

    schema.upgrade(engine)
    assert catalog(engine) == there

    run(engine, "DELETE FROM bots")
    schema.downgrade(engine, "base")
    assert {row[1] for row in catalog(engine)} == {"flowshift.alembic_version"}


def test_a_created_table_that_something_depends_on_is_kept(engine: sa.Engine) -> None:
    schema.upgrade(engine)
    run(engine, "CREATE VIEW drafts AS SELECT * FROM bot_workflow_versions")

    schema.downgrade(engine, "base")

    assert created(engine) == {
        ("table", "public.bots"),
        ("table", "public.bot_workflow_versions"),
    }
    assert schema.current(engine) is None


@pytest.mark.parametrize(
    "sql",
    [
        (
            "INSERT INTO flowshift.runs (request_id, state, options, dry_run, requested_by,"
            " converter_version) VALUES ('a', 'pending', '{}', false, 'me', '1')"
        ),
        (
            "INSERT INTO flowshift.runs (request_id, state, options, dry_run, requested_by,"
            " converter_version) VALUES ('a', 'completed', '{}', false, 'me', '1')"
        ),
        "UPDATE flowshift.runs SET finished_at = now()",
        "INSERT INTO flowshift.batches (run_id, number, bot_count) VALUES (1, 1, 0)",
        (
            "INSERT INTO flowshift.batches (run_id, number, bot_count, through_bot_id, bot_ids)"
            " VALUES (1, 1, 0, 'z', '{a}')"
        ),
        (
            "INSERT INTO flowshift.batches (run_id, number, bot_count, through_bot_id)"
            " VALUES (1, 0, 0, 'z')"
        ),
        (
            "INSERT INTO flowshift.batches (run_id, number, bot_count, through_bot_id, state)"
            " VALUES (1, 1, 0, 'z', 'done')"
        ),
        (
            "INSERT INTO flowshift.batches (run_id, number, bot_count, through_bot_id, state)"
            " VALUES (1, 1, 0, 'z', 'running')"
        ),
        (
            "INSERT INTO flowshift.batches (run_id, number, bot_count, through_bot_id, state)"
            " VALUES (1, 1, 0, 'z', 'planning')"
        ),
        "INSERT INTO flowshift.ledger (bot_id, run_id, batch, outcome) VALUES ('b', 1, 1, 'lost')",
        (
            "INSERT INTO flowshift.ledger (bot_id, run_id, batch, outcome)"
            " VALUES ('b', 1, 1, 'failed')"
        ),
        (
            "INSERT INTO flowshift.ledger (bot_id, run_id, batch, outcome, code)"
            " VALUES ('b', 1, 1, 'converted', 'cycle')"
        ),
        "INSERT INTO flowshift.budgets (run_id) VALUES (1)",
        "INSERT INTO flowshift.budgets (run_id, max_requests, tokens) VALUES (1, 1, -1)",
    ],
)
def test_the_database_refuses_states_that_cannot_be(engine: sa.Engine, sql: str) -> None:
    schema.upgrade(engine)
    run(
        engine,
        "INSERT INTO flowshift.runs (run_id, request_id, state, options, dry_run, requested_by,"
        " converter_version) VALUES (1, 'r', 'planning', '{}', false, 'me', '1')",
    )

    with pytest.raises(sa.exc.IntegrityError) as caught:
        run(engine, sql)

    assert isinstance(caught.value.orig, psycopg.errors.CheckViolation)


def test_a_bot_can_have_one_draft_and_many_other_versions(engine: sa.Engine) -> None:
    schema.upgrade(engine)
    run(engine, "INSERT INTO bots (bot_id, name) VALUES ('b', 'B')")
    insert = (
        "INSERT INTO bot_workflow_versions (bot_id, version, status, graph)"
        " VALUES ('b', :version, :status, '{}')"
    )
    run(engine, insert, version="v1.0", status="archived")
    run(engine, insert, version="v1.1", status="archived")
    run(engine, insert, version="draft", status="draft")

    with pytest.raises(sa.exc.IntegrityError, match="uq_bot_workflow_versions_draft"):
        run(engine, insert, version="draft 2", status="draft")


# --- A platform's database ------------------------------------------------------------------------


@pytest.mark.parametrize("with_users", [True, False])
@pytest.mark.parametrize("workflow_type", ["json", "jsonb"])
def test_adopting_adds_two_columns_and_the_missing_tables_and_touches_nothing_else(
    engine: sa.Engine, workflow_type: str, with_users: bool
) -> None:
    make_platform(engine, workflow_type=workflow_type, with_users=with_users)
    before, data = catalog(engine), checksums(engine, PLATFORM_DATA)

    schema.upgrade(engine)

    after = catalog(engine)
    added = {row for row in after - before - ours(after) if row[1] in {"bots", "documents", "runs"}}
    assert before - after == set()
    assert {row[:4] for row in added} == {
        ("columns", "bots", "use_workflow_v2", "boolean"),
        ("columns", "bots", "legacy_workflow", workflow_type),
    }
    assert checksums(engine, PLATFORM_DATA) == data
    assert rows(engine, "SELECT version_num FROM public.alembic_version") == [("a1b2c3d4e5f6",)]
    assert rows(engine, "SELECT DISTINCT use_workflow_v2, legacy_workflow::text FROM bots") == [
        (False, None)
    ]


def test_a_platform_that_has_it_all_under_other_names_gets_only_the_columns(
    engine: sa.Engine,
) -> None:
    make_platform(engine, with_v2_tables=True)
    before = catalog(engine)
    data = checksums(engine, (*PLATFORM_DATA, "bot_workflow_versions"))

    schema.upgrade(engine)

    after = catalog(engine)
    assert before - after == set()
    assert after - before - ours(after) == NEW_COLUMNS
    assert checksums(engine, (*PLATFORM_DATA, "bot_workflow_versions")) == data
    assert created(engine) == {
        ("column", "public.bots.use_workflow_v2"),
        ("column", "public.bots.legacy_workflow"),
    }


def test_up_down_up_on_a_platform_gives_back_exactly_what_it_had(engine: sa.Engine) -> None:
    make_platform(engine, with_v2_tables=True)
    run(engine, "DROP INDEX ix_versions_bot; DROP INDEX ix_one_draft")
    before = catalog(engine)

    schema.upgrade(engine)
    up = catalog(engine)
    schema.downgrade(engine, "base")
    down = catalog(engine)
    schema.upgrade(engine)

    assert down - ours(down) == before
    assert catalog(engine) == up
    assert created(engine) == {
        ("column", "public.bots.use_workflow_v2"),
        ("column", "public.bots.legacy_workflow"),
        ("index", "public.idx_bot_workflow_versions_bot_id"),
        ("index", "public.uq_bot_workflow_versions_draft"),
    }


def test_columns_that_hold_a_backup_or_a_published_bot_survive_the_way_down(
    engine: sa.Engine,
) -> None:
    make_platform(engine)
    schema.upgrade(engine)
    run(engine, "UPDATE bots SET legacy_workflow = workflow WHERE bot_id = 'bot-7'")

    schema.downgrade(engine, "base")

    assert created(engine) == {("column", "public.bots.legacy_workflow")}
    assert rows(engine, "SELECT bot_id FROM bots WHERE legacy_workflow IS NOT NULL") == [("bot-7",)]
    schema.upgrade(engine)
    assert len(created(engine)) == 5  # the two columns and three tables


def test_columns_of_the_same_names_that_were_there_stay(engine: sa.Engine) -> None:
    make_platform(engine)
    run(engine, "ALTER TABLE bots ADD use_workflow_v2 boolean, ADD legacy_workflow jsonb")
    before = catalog(engine)

    schema.upgrade(engine)
    schema.downgrade(engine, "base")

    after = catalog(engine)
    assert after - ours(after) == before


def test_only_missing_indexes_are_built_and_beside_the_traffic(engine: sa.Engine) -> None:
    make_platform(engine, with_v2_tables=True)
    run(
        engine,
        "DROP INDEX ix_bots_bot_id CASCADE; DROP INDEX ix_runs_created; DROP INDEX ix_one_draft",
    )
    before = catalog(engine)
    statements: list[str] = []

    def note(_c: Any, _cursor: Any, statement: str, *_rest: Any) -> None:
        statements.append(" ".join(statement.split()))

    sa.event.listen(engine, "before_cursor_execute", note)
    schema.upgrade(engine)

    after = catalog(engine)
    new = {row[2] for row in after - before - ours(after) if row[0] == "indexes"}
    assert new == {
        "CREATE UNIQUE INDEX uq_bots_bot_id ON public.bots USING btree (bot_id)",
        (
            "CREATE INDEX idx_workflow_runs_created_at ON public.workflow_execution_runs"
            " USING btree (created_at)"
        ),
        (
            "CREATE UNIQUE INDEX uq_bot_workflow_versions_draft ON public.bot_workflow_versions"
            " USING btree (bot_id) WHERE ((status)::text = 'draft'::text)"
        ),
    }
    building = [s for s in statements if s.startswith(("CREATE INDEX", "CREATE UNIQUE INDEX"))]
    on_platform = [s for s in building if "ON flowshift." not in s]
    assert len(on_platform) == 3
    assert all("INDEX CONCURRENTLY" in s for s in on_platform)


def test_writers_go_on_while_an_index_is_being_built(engine: sa.Engine) -> None:
    make_platform(engine, with_v2_tables=True)
    run(engine, "DROP INDEX ix_one_draft")
    building = threading.Thread(target=schema.upgrade, args=(engine,))

    # A transaction that is older than the build and has the rows under change keeps the build
    # waiting; whoever comes now is not kept waiting by the build.
    with engine.connect() as slow:
        slow.execute(sa.text("UPDATE bot_workflow_versions SET updated_at = now()"))
        building.start()
        try:
            wait_until(engine, BUILDING)
            with engine.begin() as quick:
                quick.execute(insert_version("bot-2", "v1", "published"))
            assert building.is_alive()
        finally:
            slow.rollback()
            building.join(30)

    assert not building.is_alive()
    assert ("index", "public.uq_bot_workflow_versions_draft") in created(engine)


def test_a_busy_table_is_left_alone_between_tries_and_altered_when_it_is_free(
    engine: sa.Engine,
) -> None:
    make_platform(engine)
    upgrading = threading.Thread(target=schema.upgrade, args=(engine,))

    with engine.connect() as busy:
        busy.execute(sa.text("UPDATE bots SET name = name WHERE bot_id = 'bot-1'"))
        upgrading.start()
        wait_until(
            engine,
            "SELECT count(*) > 0 FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
            " AND datname = current_database() AND query LIKE 'ALTER TABLE%'",
        )
        wait_until(
            engine,
            "SELECT count(*) = 0 FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
            " AND datname = current_database()",
        )
        run(engine, "UPDATE bots SET name = name WHERE bot_id = 'bot-2'")  # not queued behind it
        busy.rollback()
    upgrading.join(30)

    assert schema.current(engine) == known.head()


BUILDING = (
    "SELECT count(*) > 0 FROM pg_stat_progress_create_index"
    " WHERE datname = current_database() AND command = 'CREATE INDEX CONCURRENTLY'"
)


def wait_until(engine: sa.Engine, condition: str) -> None:
    for _ in range(1_000):
        if rows(engine, condition) == [(True,)]:
            return
        threading.Event().wait(0.01)
    raise AssertionError(condition)


def test_a_table_that_stays_busy_ends_the_upgrade_as_transient(
    engine: sa.Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_platform(engine)
    monkeypatch.setattr(operations, "LOCK_TRIES", 3)
    monkeypatch.setattr(operations, "LOCK_TIMEOUT_MS", 50)
    monkeypatch.setattr(operations, "LOCK_PAUSE_S", 0.01)

    with engine.connect() as busy:
        busy.execute(sa.text("UPDATE bots SET name = name WHERE bot_id = 'bot-1'"))
        with pytest.raises(TransientError, match="bots was in use through 3 tries"):
            schema.upgrade(engine)

    schema.upgrade(engine)
    assert schema.current(engine) == known.head()


def test_an_upgrade_that_dies_during_a_build_is_finished_by_the_next_one(
    engine: sa.Engine,
) -> None:
    make_platform(engine, with_v2_tables=True)
    run(engine, "DROP INDEX ix_one_draft")
    errors: list[BaseException] = []

    def upgrade() -> None:
        try:
            schema.upgrade(engine)
        except TransientError as error:
            errors.append(error)

    upgrading = threading.Thread(target=upgrade)
    with engine.connect() as slow:
        slow.execute(sa.text("UPDATE bot_workflow_versions SET updated_at = now()"))
        upgrading.start()
        wait_until(engine, BUILDING)
        wait_until(engine, "SELECT count(*) > 0 FROM pg_index WHERE NOT indisvalid")
        run(
            engine,
            "SELECT pg_terminate_backend(pid) FROM pg_stat_progress_create_index"
            " WHERE datname = current_database()",
        )
        upgrading.join(30)

    assert len(errors) == 1
    assert schema.current(engine) is None
    schema.upgrade(engine)
    assert rows(engine, "SELECT count(*) FROM pg_index WHERE NOT indisvalid") == [(0,)]
    assert ("index", "public.uq_bot_workflow_versions_draft") in created(engine)


# --- What stops an upgrade ------------------------------------------------------------------------


def stopped_upgrade(engine: sa.Engine) -> str:
    """Upgrade, expect to be stopped with the platform's side unchanged, and give the message."""
    before = catalog(engine)
    with pytest.raises(UsageError) as caught:
        schema.upgrade(engine)
    after = catalog(engine)
    assert after - ours(after) == before
    assert schema.current(engine) is None
    return str(caught.value)


def test_two_drafts_of_one_bot_stop_the_upgrade_and_are_listed(engine: sa.Engine) -> None:
    make_platform(engine, with_v2_tables=True)
    run(engine, "DROP INDEX ix_one_draft")
    run(
        engine,
        "INSERT INTO bot_workflow_versions"
        " (id, bot_id, version, status, graph, created_at, updated_at)"
        " SELECT gen_random_uuid(), 'bot-' || n, 'draft ' || copy, 'draft', '{}', now(), now()"
        " FROM generate_series(1, 25) AS n, generate_series(1, 2) AS copy",
    )
    ids = rows(
        engine,
        "SELECT id::text FROM bot_workflow_versions WHERE bot_id = 'bot-1' AND status = 'draft'",
    )

    message = stopped_upgrade(engine)

    assert "nothing was changed" in message
    assert "25 bots have more than one draft in bot_workflow_versions" in message
    assert len(ids) == 3
    assert all(id_ in message for (id_,) in ids)
    assert message.count("\n  bot-") == 20
    assert "… and 5 more" in message


def test_missing_columns_are_listed_all_at_once(engine: sa.Engine) -> None:
    make_platform(engine, with_v2_tables=True)
    run(
        engine,
        "ALTER TABLE bot_workflow_versions DROP features, DROP graph;"
        "ALTER TABLE workflow_node_executions DROP truncated_fields;"
        "ALTER TABLE bots ALTER workflow TYPE text, DROP updated_at CASCADE;"
        "ALTER TABLE workflow_execution_runs ADD tenant_id integer NOT NULL",
    )

    message = stopped_upgrade(engine)

    assert [line for line in message.splitlines() if line.startswith("- ")] == [
        "- bots has no column updated_at: add it as the platform has it",
        "- bots.workflow is text; it should be json or jsonb",
        "- bot_workflow_versions has no column graph: add it as the platform has it",
        "- bot_workflow_versions has no column features: add it as the platform has it",
        (
            "- workflow_execution_runs.tenant_id takes no NULL and has no default,"
            " and flowshift does not fill it: give it a default"
        ),
        "- workflow_node_executions has no column truncated_fields: add it as the platform has it",
    ]


def test_duplicate_bot_ids_stop_the_upgrade_and_are_listed(engine: sa.Engine) -> None:
    make_platform(engine)
    run(engine, "DROP INDEX ix_bots_bot_id CASCADE")
    run(engine, "INSERT INTO bots (bot_id, name) VALUES ('bot-3', 'Again')")

    message = stopped_upgrade(engine)

    assert "bots has 1 duplicate bot_id, which should be unique" in message
    assert "\n  bot-3: 3, 51" in message


def test_a_view_in_the_place_of_a_table_stops_the_upgrade(engine: sa.Engine) -> None:
    run(engine, "CREATE VIEW bots AS SELECT 'b'::varchar AS bot_id")

    assert stopped_upgrade(engine).endswith(
        "- bots is not a table: make the table itself the first of that name on the search path"
    )


def test_a_partitioned_table_without_an_index_stops_the_upgrade(engine: sa.Engine) -> None:
    make_platform(engine, with_v2_tables=True)
    run(
        engine,
        "DROP TABLE workflow_node_executions;"
        "CREATE TABLE workflow_node_executions ("
        " id uuid, workflow_run_id uuid, node_id text, node_type text, execution_order integer,"
        " inputs jsonb, outputs jsonb, process_data jsonb, status text, error_message text,"
        " started_at timestamptz, finished_at timestamptz, elapsed_time integer,"
        " tokens_used integer, is_truncated boolean, truncated_fields jsonb,"
        " created_at timestamptz NOT NULL) PARTITION BY RANGE (created_at)",
    )

    assert "- workflow_node_executions is partitioned, so the index idx_node_exec_run_id on" in (
        stopped_upgrade(engine)
    )

    run(engine, "CREATE INDEX ON workflow_node_executions (workflow_run_id)")
    schema.upgrade(engine)
    assert schema.current(engine) == known.head()


def test_a_created_index_that_a_kept_table_refers_to_is_kept(engine: sa.Engine) -> None:
    make_platform(engine)
    run(engine, "DROP INDEX ix_bots_bot_id CASCADE")
    schema.upgrade(engine)
    run(
        engine,
        "INSERT INTO bot_workflow_versions (bot_id, version, graph) VALUES ('bot-1', 'draft', '{}')",
    )

    schema.downgrade(engine, "base")

    assert created(engine) == {
        ("index", "public.uq_bots_bot_id"),
        ("table", "public.bot_workflow_versions"),
    }
    valid = "SELECT indisvalid FROM pg_index WHERE indexrelid = 'uq_bots_bot_id'::regclass"
    assert rows(engine, valid) == [(True,)]

    run(engine, "DELETE FROM bot_workflow_versions")
    schema.upgrade(engine)
    schema.downgrade(engine, "base")
    assert rows(engine, "SELECT to_regclass('uq_bots_bot_id')") == [(None,)]


def test_an_upgrade_that_was_stopped_goes_through_once_the_cause_is_gone(
    engine: sa.Engine,
) -> None:
    make_platform(engine)
    run(engine, "ALTER TABLE bots RENAME workflow TO workflow_1")
    stopped_upgrade(engine)

    run(engine, "ALTER TABLE bots RENAME workflow_1 TO workflow")
    schema.upgrade(engine)

    assert schema.current(engine) == known.head()


def test_what_a_failed_build_left_behind_is_dropped_and_built_again(engine: sa.Engine) -> None:
    make_platform(engine, with_v2_tables=True)
    run(engine, "DROP INDEX ix_one_draft")
    with engine.begin() as connection:
        connection.execute(insert_version("bot-1", "d2", "draft"))
    with (
        engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection,
        pytest.raises(sa.exc.IntegrityError),
    ):
        connection.execute(
            sa.text(
                "CREATE UNIQUE INDEX CONCURRENTLY uq_bot_workflow_versions_draft"
                " ON bot_workflow_versions (bot_id) WHERE status = 'draft'"
            )
        )
    run(engine, "DELETE FROM bot_workflow_versions WHERE version = 'd2'")

    schema.upgrade(engine)

    assert rows(
        engine,
        "SELECT indisvalid FROM pg_index WHERE indexrelid ="
        " 'uq_bot_workflow_versions_draft'::regclass",
    ) == [(True,)]


def test_a_duplicate_that_arrives_during_the_build_is_listed_and_leaves_no_invalid_index(
    engine: sa.Engine,
) -> None:
    make_platform(engine, with_v2_tables=True)
    run(engine, "DROP INDEX ix_one_draft")
    # Else the upgrade would wait earlier: the late row's foreign key holds a lock on bots.
    run(engine, "ALTER TABLE bots ADD use_workflow_v2 boolean, ADD legacy_workflow json")
    errors: list[BaseException] = []

    def upgrade() -> None:
        try:
            schema.upgrade(engine)
        except UsageError as error:
            errors.append(error)

    upgrading = threading.Thread(target=upgrade)
    with engine.connect() as late:
        # Not committed yet, so that the look before the build does not see it.
        late.execute(insert_version("bot-1", "d2", "draft"))
        upgrading.start()
        wait_until(engine, BUILDING)
        late.commit()
    upgrading.join(30)

    assert [str(error).partition(" in ")[0] for error in errors] == [
        "1 bot has more than one draft"
    ]
    assert rows(engine, "SELECT count(*) FROM pg_index WHERE NOT indisvalid") == [(0,)]
    assert not any(kind == "index" for kind, _ in created(engine))


def test_a_name_that_the_platform_uses_for_another_index_is_not_taken(engine: sa.Engine) -> None:
    make_platform(engine, with_v2_tables=True)
    run(
        engine,
        "DROP INDEX ix_runs_bot;"
        "CREATE INDEX idx_workflow_runs_bot_id ON workflow_execution_runs (bot_id, created_at)",
    )
    before = catalog(engine)

    schema.upgrade(engine)
    assert ("index", "public.flowshift_idx_workflow_runs_bot_id") in created(engine)
    schema.downgrade(engine, "base")

    after = catalog(engine)
    assert after - ours(after) == before


def test_tables_that_refer_to_adopted_ones_take_their_types(engine: sa.Engine) -> None:
    run(
        engine,
        "CREATE TABLE bots (bot_id text PRIMARY KEY, name text, workflow json, updated_at date)",
    )

    schema.upgrade(engine)

    assert rows(
        engine,
        "SELECT DISTINCT format_type(atttypid, atttypmod) FROM pg_attribute"
        " WHERE attname = 'bot_id' AND attrelid::regclass::text"
        " IN ('bot_workflow_versions', 'workflow_execution_runs')",
    ) == [("text",)]


def test_a_platform_outside_public_is_found_by_the_search_path(empty_database: str) -> None:
    with an_engine(empty_database) as engine:
        run(
            engine, f"ALTER DATABASE {engine.url.database} SET search_path = 'The Platform', public"
        )
        run(engine, 'CREATE SCHEMA "The Platform"')
    with an_engine(empty_database) as engine:
        make_platform(engine)
        before = catalog(engine)

        schema.upgrade(engine)
        schema.downgrade(engine, "base")
        after = catalog(engine)
        schema.upgrade(engine)

        assert after - ours(after) == before
        assert ("table", '"The Platform".bot_workflow_versions') in created(engine)


def test_a_role_that_may_not_alter_the_platform_is_told_so(
    engine: sa.Engine, empty_database: str
) -> None:
    make_platform(engine)
    role = f"flowshift_test_{uuid.uuid4().hex[:12]}"
    run(engine, f"CREATE ROLE {role} LOGIN; GRANT ALL ON ALL TABLES IN SCHEMA public TO {role}")
    run(engine, f"GRANT CREATE ON DATABASE {engine.url.database} TO {role}")
    try:
        limited = database_url(empty_database).set(username=role)
        with (
            an_engine(limited.render_as_string(hide_password=False)) as theirs,
            pytest.raises(ConfigError, match="must be owner of table bots"),
        ):
            schema.upgrade(theirs)
    finally:
        run(engine, f"DROP OWNED BY {role}; DROP ROLE {role}")


def test_a_revision_that_does_not_exist_is_said_so(engine: sa.Engine) -> None:
    with pytest.raises(UsageError, match="9999"):
        schema.upgrade(engine, "9999")


def test_a_server_that_is_away_is_transient() -> None:
    with (
        an_engine("postgresql://me@127.0.0.1:1/platform") as engine,
        pytest.raises(TransientError),
    ):
        schema.upgrade(engine)


def test_the_time_outs_and_the_lock_are_given_back(engine: sa.Engine) -> None:
    config = schema.alembic_config()
    with engine.connect() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "head")

        settings = [
            connection.execute(sa.text(f"SHOW {name}")).scalar_one()
            for name in ("lock_timeout", "statement_timeout", "timezone")
        ]
        locks = connection.execute(
            sa.text(
                "SELECT count(*) FROM pg_locks"
                " WHERE locktype = 'advisory' AND pid = pg_backend_pid()"
            )
        ).scalar_one()

    assert settings == ["2s", "20s", "UTC"]
    assert locks == 0


# --- As commands ----------------------------------------------------------------------------------


def alembic(url: str, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "alembic", *arguments],
        cwd=CHECKOUT,
        env=os.environ | {"FLOWSHIFT_DATABASE_URL": url},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_alembic_upgrade_head_works_in_the_checkout(empty_database: str, engine: sa.Engine) -> None:
    process = alembic(empty_database, "upgrade", "head")

    _, output = process.communicate(timeout=60)

    assert process.returncode == 0, output
    assert "table.created" in output
    assert schema.current(engine) == known.head()


def test_alembic_shows_what_stops_it_without_a_traceback(
    empty_database: str, engine: sa.Engine
) -> None:
    make_platform(engine)
    run(engine, "ALTER TABLE bots DROP workflow")
    process = alembic(empty_database, "upgrade", "head")

    output = "".join(process.communicate(timeout=60))

    assert process.returncode != 0
    assert "- bots has no column workflow" in output
    assert "Traceback" not in output


@pytest.mark.parametrize("adopted", [False, True])
def test_two_upgrades_at_once_both_succeed(
    empty_database: str, engine: sa.Engine, adopted: bool
) -> None:
    if adopted:
        make_platform(engine, with_v2_tables=True)
        run(engine, "DROP INDEX ix_one_draft; DROP INDEX ix_nodes_run")
    processes = [alembic(empty_database, "upgrade", "head") for _ in range(3)]

    outputs = [process.communicate(timeout=100) for process in processes]

    assert [process.returncode for process in processes] == [0, 0, 0], outputs
    assert schema.current(engine) == known.head()
    assert sum("table.created" in output for _, output in outputs) == 1


def test_two_upgrades_in_one_process_both_succeed(engine: sa.Engine) -> None:
    upgrading = [threading.Thread(target=schema.upgrade, args=(engine,)) for _ in range(3)]
    for thread in upgrading:
        thread.start()
    for thread in upgrading:
        thread.join(60)

    assert schema.current(engine) == known.head()
