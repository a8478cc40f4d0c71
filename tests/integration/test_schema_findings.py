"""`db check` by the catalogue: what keeps runs from writing, or hides rows from them."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator

import pytest
import sqlalchemy as sa

from migrations import known, upgrade
from tests import platforms
from tests.fleet import Fleet
from tests.integration.conftest import Run
from tests.integration.test_migrations import an_engine
from tests.roles import Role, grant
from worker.db.engine import database_url
from worker.db.schema.check import Readiness, check
from worker.errors import UsageError


@pytest.fixture
def database(empty_database: str) -> str:
    """A database that a test makes itself, in the place of the one with our tables."""
    return empty_database


def checked(engine: sa.Engine) -> Readiness:
    with engine.connect() as connection:
        return check(connection, known.revisions())


def notes(found: Readiness, table: str) -> str:
    return "\n".join(next(one for one in found.tables if one.name == table).notes)


# -- row level security ----------------------------------------------------------------------------

TENANTS = """
ALTER TABLE bots ADD tenant_id int NOT NULL DEFAULT 1;
ALTER TABLE bots ENABLE ROW LEVEL SECURITY;
CREATE POLICY tenant ON bots USING (tenant_id = nullif(current_setting('app.tenant', true), '')::int);
"""


@pytest.fixture
def another(fleet: Fleet, empty_database: str) -> Iterator[Role]:
    """A role with a password, of this database alone."""
    role = Role(f"flowshift_test_{uuid.uuid4().hex[:12]}", "secret")
    yield role
    fleet.execute(
        f"DO $$ BEGIN IF to_regrole('{role.name}') IS NOT NULL THEN"
        f" REASSIGN OWNED BY {role.name} TO CURRENT_USER; DROP OWNED BY {role.name};"
        f" DROP ROLE {role.name}; END IF; END $$"
    )


def test_forced_row_security_hides_rows_from_the_owner_and_the_check_says_so(
    fleet: Fleet, another: Role, empty_database: str
) -> None:
    platforms.make(fleet.engine, bots=20)
    fleet.execute(f"CREATE ROLE {another.name} LOGIN PASSWORD '{another.password}'")
    platforms.script(fleet.engine, TENANTS, "ALTER TABLE bots FORCE ROW LEVEL SECURITY")
    for schema in ("public", "flowshift"):
        fleet.execute(f"GRANT ALL ON SCHEMA {schema} TO {another.name}")
        fleet.execute(f"GRANT ALL ON ALL TABLES IN SCHEMA {schema} TO {another.name}")
    fleet.execute(f"ALTER TABLE bots OWNER TO {another.name}")

    with an_engine(another.url(empty_database)) as theirs:
        found = checked(theirs)
        assert not found.ready
        (problem,) = found.problems
        assert f"row level security hides rows from the role {another.name}" in problem
        assert f"CREATE POLICY flowshift ON bots TO {another.name} USING (true)" in problem

        # What the sentence says is what settles it.
        fleet.execute(
            f"CREATE POLICY flowshift ON bots TO {another.name} USING (true) WITH CHECK (true)"
        )
        assert checked(theirs).problems == ()
        fleet.execute("CREATE POLICY but ON bots AS RESTRICTIVE USING (tenant_id = 2)")
        assert len(checked(theirs).problems) == 1
        fleet.execute(f"ALTER ROLE {another.name} BYPASSRLS")
        assert checked(theirs).problems == ()


def test_row_security_that_hides_rows_from_the_workers_role_is_found_by_the_owner_too(
    fleet: Fleet, another: Role, empty_database: str
) -> None:
    platforms.make(fleet.engine, bots=20)
    platforms.script(fleet.engine, TENANTS)

    before = checked(fleet.engine)
    assert before.ready
    assert "row level security is enabled: a role that `flowshift db role` makes sees no row" in (
        notes(before, "bots")
    )

    grant(empty_database, another)
    with an_engine(another.url(empty_database)) as theirs:
        for engine in (fleet.engine, theirs):
            (problem,) = checked(engine).problems
            assert f"hides rows from the role {another.name}" in problem


# -- publications ----------------------------------------------------------------------------------

IDENTITY = "ALTER TABLE bots DROP CONSTRAINT bots_pkey;"
PUBLISHED = {
    "all tables": ("bots", f"{IDENTITY} CREATE PUBLICATION p FOR ALL TABLES"),
    "one table, updates alone": (
        "bots",
        f"{IDENTITY} CREATE PUBLICATION p FOR TABLE bots WITH (publish = 'update')",
    ),
    "a schema": ("bots", f"{IDENTITY} CREATE PUBLICATION p FOR TABLES IN SCHEMA public"),
    "an identity of nothing": (
        "bot_workflow_versions",
        (
            "ALTER TABLE bot_workflow_versions REPLICA IDENTITY NOTHING;"
            "CREATE PUBLICATION p FOR TABLE bot_workflow_versions"
        ),
    ),
    "deletes of executions": (
        "workflow_execution_runs",
        (
            "ALTER TABLE workflow_execution_runs REPLICA IDENTITY NOTHING;"
            "CREATE PUBLICATION p FOR TABLE workflow_execution_runs WITH (publish = 'delete')"
        ),
    ),
}
HARMLESS = {
    "a primary key": "CREATE PUBLICATION p FOR ALL TABLES",
    "inserts alone": f"{IDENTITY} CREATE PUBLICATION p FOR ALL TABLES WITH (publish = 'insert')",
    "deletes of bots": f"{IDENTITY} CREATE PUBLICATION p FOR TABLE bots WITH (publish = 'delete')",
    "another table": f"{IDENTITY} CREATE PUBLICATION p FOR TABLE users",
    "a whole row": f"{IDENTITY} ALTER TABLE bots REPLICA IDENTITY FULL;"
    "CREATE PUBLICATION p FOR ALL TABLES",
    "an index": f"{IDENTITY} ALTER TABLE bots REPLICA IDENTITY USING INDEX bots_bot_id_key;"
    "CREATE PUBLICATION p FOR ALL TABLES",
}


@pytest.mark.parametrize("kind", PUBLISHED)
def test_a_publication_of_a_table_without_an_identity_is_named(kind: str, fleet: Fleet) -> None:
    table, spoil = PUBLISHED[kind]
    platforms.make(fleet.engine)
    if kind == "a schema" and fleet.rows("SHOW server_version_num")[0][0] < "150000":
        pytest.skip("PostgreSQL has that from 15 on")
    platforms.script(fleet.engine, spoil)

    (problem,) = checked(fleet.engine).problems
    assert problem.startswith(f"{table}: the publication p publishes ")


@pytest.mark.parametrize("kind", HARMLESS)
def test_a_publication_that_forbids_nothing_is_no_problem(kind: str, fleet: Fleet) -> None:
    platforms.make(fleet.engine, bots=2)
    platforms.script(fleet.engine, HARMLESS[kind])

    assert checked(fleet.engine).problems == ()
    assert fleet.run().counts.converted == 2


def test_a_partition_without_an_identity_is_named_where_its_root_is_published(fleet: Fleet) -> None:
    platforms.make(fleet.engine)
    platforms.script(
        fleet.engine,
        "DROP TABLE workflow_node_executions, workflow_execution_runs CASCADE",
        """
        CREATE TABLE workflow_execution_runs (
            id uuid NOT NULL, bot_id varchar(50) NOT NULL, workflow_version_id uuid,
            session_id varchar(255), user_id varchar(36), graph_snapshot jsonb NOT NULL, inputs jsonb,
            outputs jsonb, status varchar(20) NOT NULL, error_message text, started_at timestamptz,
            finished_at timestamptz, elapsed_time int, total_tokens int, total_steps int,
            created_at timestamptz NOT NULL
        ) PARTITION BY RANGE (created_at);
        CREATE TABLE rest PARTITION OF workflow_execution_runs DEFAULT;
        CREATE PUBLICATION p FOR TABLE workflow_execution_runs
            WITH (publish_via_partition_root = true);
        """,
    )
    assert any(
        problem.startswith("rest: the publication p publishes deletes")
        for problem in checked(fleet.engine).problems
    )


# -- triggers, rules, constraints ------------------------------------------------------------------


def test_update_triggers_on_bots_are_named_as_a_note_with_the_way_round_them(
    fleet: Fleet, flowshift: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    platforms.make(fleet.engine, bots=2)
    platforms.script(
        fleet.engine,
        "CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN NEW.updated_at = now(); RETURN NEW; END $$;"
        "CREATE TRIGGER touch BEFORE UPDATE ON bots FOR EACH ROW EXECUTE FUNCTION f();"
        "CREATE TRIGGER renamed BEFORE UPDATE OF name ON bots FOR EACH ROW EXECUTE FUNCTION f();"
        "CREATE TRIGGER off BEFORE UPDATE ON bots FOR EACH ROW EXECUTE FUNCTION f();"
        "ALTER TABLE bots DISABLE TRIGGER off;"
        "CREATE TRIGGER made BEFORE INSERT ON bots FOR EACH ROW EXECUTE FUNCTION f();"
        "CREATE FUNCTION g() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$;"
        "CREATE TRIGGER kept AFTER DELETE ON workflow_execution_runs EXECUTE FUNCTION g()",
    )
    found = checked(fleet.engine)
    assert found.ready
    assert notes(found, "bots").startswith(
        "the backup of V1 fires triggers, which may change other columns (updated_at …):"
        " touch (before); FLOWSHIFT_BACKUP=table"
    )
    assert "DELETE fires triggers: kept (after)" in notes(found, "workflow_execution_runs")

    assert "touch (before)" in flowshift("db", "check")[1]
    monkeypatch.setenv("FLOWSHIFT_BACKUP", "table")
    code, out, _ = flowshift("db", "check")
    assert (code, "touch (before)" in out) == (0, False)


RULES = {
    "CREATE RULE r AS ON UPDATE TO bots DO INSTEAD NOTHING": (
        "bots: the rule r on UPDATE replaces what flowshift writes"
    ),
    "CREATE RULE r AS ON INSERT TO bot_workflow_versions DO ALSO SELECT 1": (
        "bot_workflow_versions: the rule r on INSERT forbids INSERT … ON CONFLICT"
    ),
    "CREATE RULE r AS ON UPDATE TO workflow_execution_runs DO ALSO SELECT 1": (
        "workflow_execution_runs: the rule r on UPDATE forbids INSERT … ON CONFLICT"
    ),
    "CREATE RULE r AS ON DELETE TO workflow_node_executions DO INSTEAD NOTHING": (
        "workflow_node_executions: the rule r on DELETE replaces what flowshift writes"
    ),
    "ALTER TABLE workflow_execution_runs ADD CONSTRAINT r UNIQUE (bot_id, id) DEFERRABLE": (
        "workflow_execution_runs: the constraint r is deferrable"
    ),
    "ALTER TABLE bot_workflow_versions ADD CONSTRAINT r EXCLUDE (id WITH =)"
    " DEFERRABLE INITIALLY DEFERRED": "bot_workflow_versions: the constraint r is deferrable",
}


@pytest.mark.parametrize("spoil", RULES)
def test_rules_and_deferrable_constraints_that_forbid_a_write_are_problems(
    spoil: str, fleet: Fleet
) -> None:
    platforms.make(fleet.engine)
    fleet.execute(spoil)

    (problem,) = checked(fleet.engine).problems
    assert problem.startswith(RULES[spoil])


def test_a_rule_that_adds_to_an_update_of_bots_is_a_note(fleet: Fleet) -> None:
    platforms.make(fleet.engine)
    fleet.execute("CREATE RULE r AS ON UPDATE TO bots DO ALSO SELECT 1")

    found = checked(fleet.engine)
    assert found.ready
    assert "the rule r on UPDATE does more than flowshift asks for" in notes(found, "bots")


# -- keys, server ----------------------------------------------------------------------------------


def test_rows_without_a_bot_id_are_counted_and_no_problem(fleet: Fleet, flowshift: Run) -> None:
    platforms.make(fleet.engine, bots=20, bot_id="varchar(50) UNIQUE")
    fleet.execute("INSERT INTO bots (user_id, name) SELECT 1, 'old' FROM generate_series(1, 12)")

    code, out, _ = flowshift("db", "check")
    assert code == 0
    assert "12 rows have no bot_id, and every run passes them over" in out


def test_ids_in_two_collations_of_their_own_cannot_be_compared(fleet: Fleet) -> None:
    platforms.make(
        fleet.engine,
        adopt=False,
        bot_id='varchar(50) COLLATE "C" NOT NULL UNIQUE',
        version_bot_id='varchar(50) COLLATE "POSIX"',
    )
    assert any(
        'bots.bot_id has the collation "C", bot_workflow_versions.bot_id "POSIX", and PostgreSQL'
        " cannot compare the two" in problem
        for problem in checked(fleet.engine).problems
    )


def test_a_read_only_database_is_not_ready(fleet: Fleet, empty_database: str) -> None:
    platforms.make(fleet.engine, bots=2)
    url = database_url(empty_database).update_query_dict(
        {"options": "-c default_transaction_read_only=on"}
    )
    with an_engine(url.render_as_string(hide_password=False)) as engine, engine.connect() as one:
        if one.execute(sa.text("SHOW transaction_read_only")).scalar_one() == "on":
            (problem,) = check(one, known.revisions()).problems
            assert problem.startswith("transactions are read-only here")


# -- tables elsewhere ------------------------------------------------------------------------------

ELSEWHERE = {
    "in another schema": ("CREATE SCHEMA app; CREATE TABLE app.bots (x int)", "app.bots exists"),
    "under capitals": ('CREATE TABLE "Bots" (x int)', '"Bots" may be it'),
    "in the singular": ("CREATE TABLE bot (x int)", "bot may be it"),
    "as chatbots": (
        "CREATE SCHEMA app; CREATE TABLE app.chat_bots (x int)",
        "app.chat_bots may be",
    ),
    "by its columns": (
        'CREATE TABLE assistants ("botId" text, workflow jsonb)',
        "assistants may be it",
    ),
    "as a view": ("CREATE SCHEMA app; CREATE VIEW app.bots AS SELECT 1", "app.bots exists"),
    "versions alone": (
        "CREATE SCHEMA app; CREATE TABLE app.bot_workflow_versions (x int)",
        "bot_workflow_versions is not on the search path",
    ),
}


@pytest.mark.parametrize("kind", ELSEWHERE)
def test_where_a_table_may_be_elsewhere_nothing_is_created_unless_asked_for(
    kind: str, fleet: Fleet, flowshift: Run
) -> None:
    before, said = ELSEWHERE[kind]
    platforms.script(fleet.engine, before)

    code, out, _ = flowshift("db", "check", "--json")
    assert code == 3
    assert any(said in problem for problem in json.loads(out)["problems"])
    for sql in ([], ["--sql"]):
        code, _, err = flowshift("db", "upgrade", *sql)
        assert (code, said in err) == (2, True), err
        assert len([line for line in err.splitlines() if line.startswith("- ")]) == 1
    assert fleet.rows("SELECT to_regclass('public.bots')")[0][0] is None

    assert flowshift("db", "upgrade", "--create")[0] == 0
    assert checked(fleet.engine).ready


def test_a_platform_in_another_schema_is_found_once_it_is_on_the_path(
    fleet: Fleet, empty_database: str
) -> None:
    with fleet.engine.begin() as connection:
        connection.exec_driver_sql("CREATE SCHEMA app")
        connection.exec_driver_sql("SET LOCAL search_path = app")
        connection.exec_driver_sql(platforms.TABLES.format(**platforms.USUAL))
    with pytest.raises(UsageError, match=r"app\.bots exists: put its schema on the path"):
        upgrade.upgrade(fleet.engine)

    url = database_url(empty_database).update_query_dict({"options": "-c search_path=app"})
    with an_engine(url.render_as_string(hide_password=False)) as engine:
        platforms.insert_bots(engine, 20)
        upgrade.upgrade(engine)
        assert checked(engine).ready
    assert fleet.rows("SELECT to_regclass('public.bots')")[0][0] is None
