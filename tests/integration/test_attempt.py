"""`db check` by trying: what a batch writes, on a few real bots, rolled back."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
import sqlalchemy as sa

from migrations.known import revisions
from tests import platforms
from tests.fleet import Fleet
from tests.integration.conftest import Run
from tests.integration.test_migrations import an_engine
from tests.roles import Role, grant
from worker.db.engine import database_url
from worker.steps.answers import Attempt
from worker.steps.attempt import try_writes
from worker.steps.readiness import Readiness, check_readiness

EVERYTHING = [
    ("bot_workflow_versions", "insert of drafts"),
    ("bot_workflow_versions", "update of drafts"),
    ("bots", "backup into legacy_workflow"),
    ("workflow_execution_runs", "insert of executions"),
    ("workflow_node_executions", "insert of nodes"),
    ("workflow_execution_runs", "delete of executions"),
    ("flowshift.ledger", "insert of outcomes"),
]


@pytest.fixture
def database(empty_database: str) -> str:
    """A database that a test makes itself, in the place of the one with our tables."""
    return empty_database


def tried(fleet: Fleet, engine: sa.Engine | None = None) -> Attempt:
    return try_writes(engine or fleet.engine, fleet.current.defaults, fleet.current.echo, "column")


def examined(fleet: Fleet, engine: sa.Engine | None = None) -> Readiness:
    return check_readiness(
        engine or fleet.engine,
        fleet.current.defaults,
        fleet.current.echo_for,
        target=fleet.current.settings.target,
        revisions=revisions(),
        backup="column",
    )


def refusals(attempt: Attempt) -> dict[tuple[str, str], str]:
    return {(one.table, one.action): one.refused for one in attempt.answers if one.refused}


def contents(fleet: Fleet) -> dict[str, Any]:
    """Every row of every table with the transaction that wrote it, and where sequences are."""
    tables = fleet.rows(
        "SELECT oid::regclass::text AS name FROM pg_class WHERE relkind IN ('r', 'p')"
        " AND relnamespace::regnamespace::text IN ('public', 'flowshift')"
    )
    rows = {
        name: fleet.rows(f"SELECT xmin::text, t::text FROM {name} t ORDER BY 2")
        for (name,) in tables
    }
    return {**rows, "sequences": fleet.rows("SELECT sequencename, last_value FROM pg_sequences")}


def test_on_a_database_that_works_every_write_of_a_batch_is_tried_and_leaves_no_trace(
    fleet: Fleet,
) -> None:
    platforms.make(fleet.engine, bots=30)
    fleet.run(bot_ids=("bot_0001", "bot_0002"))
    fleet.execute("UPDATE bots SET workflow = '{}' WHERE bot_id IN ('bot_0002', 'bot_0003')")
    before = contents(fleet)

    attempt = tried(fleet)

    assert contents(fleet) == before
    assert [(one.table, one.action) for one in attempt.answers] == EVERYTHING
    assert attempt.problems == ()
    assert not any(one.undecided for one in attempt.answers)
    rows = {one.action: one.rows for one in attempt.answers}
    assert attempt.bots == 20
    assert (rows["insert of drafts"], rows["update of drafts"]) == (18, 20)
    assert (rows["backup into legacy_workflow"], rows["insert of nodes"]) == (18, 20)
    assert attempt.role == fleet.rows("SELECT current_user")[0][0]


def test_bots_of_both_ends_of_the_fleet_are_tried(fleet: Fleet) -> None:
    platforms.make(fleet.engine, bots=100)
    platforms.script(fleet.engine, refusing("bot_workflow_versions", "INSERT", "bot_0100"))

    assert refusals(tried(fleet)) == {
        EVERYTHING[0]: "bot_0100 may not; PL/pgSQL function refuse() line 2 at RAISE"
        " (for bot_0100: 1 of 20)"
    }


def refusing(table: str, event: str, bot_id: str) -> str:
    return f"""
        CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
            IF NEW.bot_id = '{bot_id}' THEN RAISE '%% may not', NEW.bot_id; END IF;
            RETURN NEW; END $$;
        CREATE TRIGGER refuse BEFORE {event} ON {table}
            FOR EACH ROW EXECUTE FUNCTION refuse();
    """


def test_triggers_that_suppress_rows_are_found_with_the_bots(fleet: Fleet, flowshift: Run) -> None:
    platforms.make(fleet.engine, bots=20)
    platforms.script(
        fleet.engine,
        """
        CREATE FUNCTION only_paid() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
            IF NEW.bot_id = 'bot_0007' THEN RETURN NULL; END IF; RETURN NEW; END $$;
        CREATE TRIGGER only_paid BEFORE INSERT ON bot_workflow_versions
            FOR EACH ROW EXECUTE FUNCTION only_paid();
        CREATE FUNCTION no_touch() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
            IF NEW.bot_id = 'bot_0003' THEN RETURN NULL; END IF; RETURN NEW; END $$;
        CREATE TRIGGER no_touch BEFORE UPDATE ON bots FOR EACH ROW EXECUTE FUNCTION no_touch();
        """,
    )
    role = fleet.rows("SELECT current_user")[0][0]

    code, out, _ = flowshift("db", "check")
    assert code == 3
    assert (
        f"- bot_workflow_versions: insert of drafts tried as {role} fails: no draft was kept;"
        " a trigger or a rule may be why (for bot_0007: 1 of 20)"
    ) in out
    assert (
        f"- bots: backup into legacy_workflow tried as {role} fails: no backup was kept;"
        " a trigger or a rule may be why (for bot_0003: 1 of 20)"
    ) in out
    assert "not ready" in out
    assert flowshift("db", "check", "--no-try")[0] == 0


SPOILED = {
    "a rule instead of the backup": (
        "CREATE RULE kept AS ON UPDATE TO bots DO INSTEAD NOTHING",
        EVERYTHING[2],
        "cannot perform UPDATE RETURNING on relation",
    ),
    "a rule on inserts of versions": (
        (
            "CREATE TABLE log (b text); CREATE RULE logged AS ON INSERT TO bot_workflow_versions"
            " DO ALSO INSERT INTO log VALUES (new.bot_id)"
        ),
        EVERYTHING[0],
        "INSERT with ON CONFLICT clause cannot be used with table that has INSERT or UPDATE rules",
    ),
    "a trigger that rewrites drafts": (
        (
            "CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS"
            ' $$ BEGIN NEW.graph = NEW.graph || \'{"by": "us"}\'; RETURN NEW; END $$;'
            "CREATE TRIGGER t BEFORE INSERT ON bot_workflow_versions"
            " FOR EACH ROW EXECUTE FUNCTION f()"
        ),
        EVERYTHING[0],
        "another draft was stored than the one written; a trigger or a rule may be why",
    ),
    "a trigger that publishes drafts at once": (
        (
            "CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS"
            " $$ BEGIN NEW.status = 'published'; RETURN NEW; END $$;"
            "CREATE TRIGGER t BEFORE INSERT ON bot_workflow_versions"
            " FOR EACH ROW EXECUTE FUNCTION f()"
        ),
        EVERYTHING[0],
        "there was no draft afterwards; a trigger or a rule may be why",
    ),
    "a trigger that drops nodes": (
        (
            "CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS"
            " $$ BEGIN IF NEW.node_type = 'llm' THEN RETURN NULL; END IF; RETURN NEW; END $$;"
            "CREATE TRIGGER t BEFORE INSERT ON workflow_node_executions"
            " FOR EACH ROW EXECUTE FUNCTION f()"
        ),
        EVERYTHING[4],
        "not all nodes were kept; a trigger or a rule may be why",
    ),
    "a trigger that keeps executions": (
        (
            "CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$;"
            "CREATE TRIGGER t BEFORE DELETE ON workflow_execution_runs"
            " FOR EACH ROW EXECUTE FUNCTION f()"
        ),
        EVERYTHING[5],
        "the execution was still there; a trigger or a rule may be why",
    ),
    "a deferred constraint trigger": (
        (
            "CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS"
            " $$ BEGIN RAISE 'too many versions'; END $$;"
            "CREATE CONSTRAINT TRIGGER t AFTER INSERT ON bot_workflow_versions"
            " DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION f()"
        ),
        EVERYTHING[0],
        "too many versions; PL/pgSQL function f() line 1 at RAISE",
    ),
    "a deferred foreign key": (
        (
            "CREATE TABLE tenants (id text PRIMARY KEY);"
            "ALTER TABLE workflow_execution_runs ADD tenant text DEFAULT 'none'"
            " REFERENCES tenants DEFERRABLE INITIALLY DEFERRED"
        ),
        EVERYTHING[3],
        "violates foreign key constraint",
    ),
    "a unique constraint that is deferrable": (
        "ALTER TABLE bot_workflow_versions ADD UNIQUE (created_at, bot_id) DEFERRABLE",
        EVERYTHING[0],
        "ON CONFLICT does not support deferrable unique constraints",
    ),
    "a check": (
        "ALTER TABLE workflow_node_executions ADD CHECK (elapsed_time > 1000000)",
        EVERYTHING[4],
        "violates check constraint",
    ),
    "a column that a trigger does not fill after all": (
        (
            "ALTER TABLE bot_workflow_versions ADD team int;"
            "ALTER TABLE bot_workflow_versions ALTER team SET NOT NULL;"
            "CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NEW; END $$;"
            "CREATE TRIGGER t BEFORE INSERT ON bot_workflow_versions"
            " FOR EACH ROW EXECUTE FUNCTION f()"
        ),
        EVERYTHING[0],
        'null value in column "team"',
    ),
    "a generated column": (
        (
            "ALTER TABLE workflow_execution_runs DROP elapsed_time;"
            "ALTER TABLE workflow_execution_runs ADD elapsed_time int GENERATED ALWAYS AS"
            " (total_steps) STORED"
        ),
        EVERYTHING[3],
        'cannot insert a non-DEFAULT value into column "elapsed_time"',
    ),
    "a publication of all tables": (
        "ALTER TABLE bots DROP CONSTRAINT bots_pkey; CREATE PUBLICATION p FOR ALL TABLES",
        EVERYTHING[2],
        "does not have a replica identity and publishes updates",
    ),
    "a publication of deletes": (
        (
            "ALTER TABLE workflow_execution_runs REPLICA IDENTITY NOTHING;"
            "CREATE PUBLICATION p FOR TABLE workflow_execution_runs WITH (publish = 'delete')"
        ),
        EVERYTHING[5],
        "does not have a replica identity and publishes deletes",
    ),
    "a trigger on the ledger": (
        (
            "CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$;"
            "CREATE TRIGGER t BEFORE INSERT ON flowshift.ledger FOR EACH ROW EXECUTE FUNCTION f()"
        ),
        EVERYTHING[6],
        "flowshift.ledger kept 0 of 3 outcomes (a trigger?): drop what was added to the table",
    ),
}


@pytest.mark.parametrize("kind", SPOILED)
def test_what_a_batch_could_not_write_is_said_of_its_table_and_the_database_is_not_ready(
    kind: str, fleet: Fleet
) -> None:
    spoil, where, said = SPOILED[kind]
    platforms.make(fleet.engine, bots=3)
    platforms.script(fleet.engine, spoil)
    before = contents(fleet)

    found = examined(fleet)

    assert found.attempt is not None
    assert contents(fleet) == before
    assert said in refusals(found.attempt)[where], refusals(found.attempt)
    assert not found.ready
    assert any(said in problem for problem in found.problems)


@pytest.mark.parametrize(
    "body",
    [
        "PERFORM dblink_exec('dbname=other', 'DELETE FROM x')",
        "PERFORM net.http_post('https://hook.example', '{}')",
        "COPY (SELECT 1) TO PROGRAM 'curl hook.example'",
    ],
)
def test_where_a_trigger_may_act_outside_nothing_is_tried_unless_asked_for(
    body: str, fleet: Fleet, flowshift: Run
) -> None:
    platforms.make(fleet.engine, bots=3)
    platforms.script(
        fleet.engine,
        "CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
        f" IF NEW.bot_id = 'never' THEN {body}; END IF; RETURN NEW; END $$;"
        "CREATE TRIGGER hook AFTER INSERT ON bot_workflow_versions"
        " FOR EACH ROW EXECUTE FUNCTION f()",
    )
    code, out, _ = flowshift("db", "check")
    assert code == 0
    assert "trigger hook on bot_workflow_versions: it may act outside the database" in out
    assert "3 × insert of drafts: works" in flowshift("db", "check", "--try")[1]


def test_what_a_notify_would_have_told_is_not_told(fleet: Fleet) -> None:
    platforms.make(fleet.engine, bots=3)
    platforms.script(
        fleet.engine,
        "CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN PERFORM pg_notify('drafts', NEW.bot_id); RETURN NEW; END $$;"
        "CREATE TRIGGER t AFTER INSERT ON bot_workflow_versions FOR EACH ROW EXECUTE FUNCTION f()",
    )
    with fleet.connect() as listener:
        listener.autocommit = True
        listener.execute("LISTEN drafts")
        assert tried(fleet).problems == ()
        fleet.execute("NOTIFY drafts, 'the end'")
        heard = [one.payload for one in listener.notifies(timeout=10, stop_after=1)]
    assert heard == ["the end"]


def test_the_backup_is_tried_where_runs_keep_it(
    fleet: Fleet, flowshift: Run, monkeypatch: Any
) -> None:
    platforms.make(fleet.engine, bots=3)
    platforms.script(fleet.engine, SPOILED["a rule instead of the backup"][0])
    before = contents(fleet)
    assert flowshift("db", "check")[0] == 3

    monkeypatch.setenv("FLOWSHIFT_BACKUP", "table")
    code, out, _ = flowshift("db", "check")
    assert (code, "3 × backup of workflows: works" in out) == (0, True), out
    assert contents(fleet) == before


def test_bots_and_drafts_that_others_hold_are_passed_over_and_nothing_is_waited_for(
    fleet: Fleet,
) -> None:
    platforms.make(fleet.engine, bots=4)
    fleet.run(bot_ids=("bot_0002",))
    with fleet.connect() as other:
        other.execute("SELECT FROM bots WHERE bot_id = 'bot_0001' FOR UPDATE")
        other.execute("SELECT FROM bot_workflow_versions FOR UPDATE")
        attempt = tried(fleet)
        assert (attempt.bots, attempt.problems) == (2, ())

        other.execute("SELECT FROM bots FOR UPDATE")
        attempt = tried(fleet)
    assert (attempt.bots, attempt.answers) == (0, ())
    assert attempt.untried == (
        "the bots that were looked at are in use, or none of them converts: try again"
    )


def test_a_table_that_is_locked_leaves_it_open_and_is_no_problem(fleet: Fleet) -> None:
    platforms.make(fleet.engine, bots=2)
    with fleet.connect() as other:
        other.execute("LOCK workflow_node_executions IN SHARE MODE")
        found = examined(fleet)
    assert found.attempt is not None
    (busy,) = [one for one in found.attempt.answers if one.undecided]
    assert (busy.table, busy.refused) == ("workflow_node_executions", None)
    assert found.ready


def test_with_no_bots_it_says_that_nothing_was_tried(fleet: Fleet, flowshift: Run) -> None:
    platforms.make(fleet.engine)

    code, out, _ = flowshift("db", "check")
    assert code == 0
    assert "nothing was tried on real bots as" in out
    assert "the role sees no bot with a workflow" in out
    attempt = json.loads(flowshift("db", "check", "--json")[1])["attempt"]
    assert (attempt["bots"], attempt["answers"]) == (0, [])
    assert json.loads(flowshift("db", "check", "--json", "--no-try")[1])["attempt"] is None


def test_before_the_upgrade_nothing_is_tried(fleet: Fleet) -> None:
    platforms.make(fleet.engine, bots=2, adopt=False)

    found = examined(fleet)
    assert found.attempt is not None
    assert found.attempt.untried == (
        "tables or columns are missing: `flowshift db upgrade` comes first"
    )


@pytest.fixture
def workers(fleet: Fleet, empty_database: str) -> Iterator[tuple[str, sa.Engine]]:
    """A role of its own with every right on the tables that are there at first, and no other."""
    name = f"flowshift_test_{uuid.uuid4().hex[:12]}"
    platforms.make(fleet.engine, bots=3)
    fleet.execute(f"CREATE ROLE {name} LOGIN")
    fleet.execute(f"GRANT USAGE ON SCHEMA public, flowshift TO {name}")
    fleet.execute(f"GRANT ALL ON ALL TABLES IN SCHEMA public, flowshift TO {name}")
    url = database_url(empty_database).set(username=name)
    with an_engine(url.render_as_string(hide_password=False)) as engine:
        yield name, engine
    fleet.execute(f"DROP OWNED BY {name}")
    fleet.execute(f"DROP ROLE {name}")


def test_an_audit_trigger_whose_table_the_role_may_not_write_is_found_as_that_role(
    fleet: Fleet, workers: tuple[str, sa.Engine]
) -> None:
    name, engine = workers
    platforms.script(
        fleet.engine,
        "CREATE TABLE audit_log (what text);"
        "CREATE FUNCTION audit() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN INSERT INTO audit_log VALUES (NEW.bot_id); RETURN NEW; END $$;"
        "CREATE TRIGGER audit AFTER INSERT OR UPDATE ON bot_workflow_versions"
        " FOR EACH ROW EXECUTE FUNCTION audit()",
    )

    assert examined(fleet).ready  # as the owner

    found = examined(fleet, engine)
    assert not found.ready
    assert found.attempt is not None
    assert found.attempt.role == name
    assert refusals(found.attempt)[EVERYTHING[0]] == (
        "permission denied for table audit_log; PL/pgSQL function audit() line 1 at SQL statement"
    )


def test_a_policy_that_forbids_writing_is_found_as_the_role(
    fleet: Fleet, workers: tuple[str, sa.Engine]
) -> None:
    _, engine = workers
    platforms.script(
        fleet.engine,
        "ALTER TABLE bot_workflow_versions ENABLE ROW LEVEL SECURITY;"
        "CREATE POLICY reading ON bot_workflow_versions FOR SELECT USING (true)",
    )
    refused = refusals(tried(fleet, engine))[EVERYTHING[0]]
    assert refused == (
        'new row violates row-level security policy for table "bot_workflow_versions"'
    )


def test_a_lost_connection_is_no_answer(fleet: Fleet) -> None:
    platforms.make(fleet.engine, bots=2)
    platforms.script(
        fleet.engine,
        "CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN PERFORM pg_terminate_backend(pg_backend_pid()); RETURN NEW; END $$;"
        "CREATE TRIGGER t BEFORE UPDATE ON bots FOR EACH ROW EXECUTE FUNCTION f()",
    )
    with pytest.raises((psycopg.Error, sa.exc.SQLAlchemyError)):
        tried(fleet)


def test_the_role_of_the_workers_may_try_everything_that_it_will_write(
    fleet: Fleet, empty_database: str
) -> None:
    platforms.make(fleet.engine, bots=3)
    fleet.run(bot_ids=("bot_0002",))
    role = Role(f"flowshift_test_{uuid.uuid4().hex[:12]}", "secret")
    grant(empty_database, role)
    try:
        with an_engine(role.url(empty_database)) as engine:
            found = examined(fleet, engine)
    finally:
        fleet.execute(f"DROP OWNED BY {role.name}; DROP ROLE {role.name}")

    assert found.attempt is not None
    assert (found.attempt.role, found.problems) == (role.name, ())
    assert [(one.table, one.action) for one in found.attempt.answers] == EVERYTHING
