"""The role of migrations/role.sql: ready to work, and shut out of everything else."""

from __future__ import annotations

import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
import pytest
import sqlalchemy as sa
from psycopg import errors

from migrations import known
from migrations import upgrade as schema
from tests.conftest import drop_database, make_database
from tests.fleet import Fleet, a_workflow
from tests.integration.conftest import Run
from tests.integration.test_migrations import an_engine, make_platform
from tests.roles import FILE, Role, grant
from worker.db.engine import database_url
from worker.db.models import OUR_TABLES
from worker.db.schema.check import check
from worker.runtime import Runtime
from worker.servers.connect import Servers
from worker.settings import Settings


@contextmanager
def connected(url: str) -> Iterator[psycopg.Connection[tuple[object, ...]]]:
    """A connection of the driver's, by any of our URLs."""
    plain = database_url(url).set(drivername="postgresql")
    with psycopg.connect(plain.render_as_string(hide_password=False), autocommit=True) as one:
        yield one


@pytest.fixture
def as_role(database: str, role: Role) -> Iterator[psycopg.Connection[tuple[object, ...]]]:
    """A connection of the role's to this test's database."""
    with connected(role.url(database)) as connection:
        yield connection


@pytest.fixture
def worker(settings: Settings, role: Role) -> Iterator[Fleet]:
    """A fleet whose runs are taken through by the role."""
    url = role.url(settings.database_url)
    current = Runtime(settings, Servers(url, settings.redis_url))
    yield Fleet(current)
    current.close()


def test_the_database_is_ready_for_the_role(database: str, role: Role) -> None:
    with an_engine(role.url(database)) as theirs, theirs.connect() as connection:
        assert check(connection, known.revisions()).problems == ()


def test_the_role_converts_backs_up_validates_and_retries(fleet: Fleet, worker: Fleet) -> None:
    fleet.add_many(3)
    fleet.add("broken", a_workflow(temperature=9))

    first = worker.run(validate="all")
    assert (first.counts.converted, first.counts.failed, first.counts.validated) == (3, 1, 3)
    assert len(fleet.backups()) == 3
    fleet.change("bot-00001", a_workflow("another {question}"))
    assert worker.run().counts.converted == 1
    fleet.change("broken", a_workflow())
    assert worker.run(retry_of=1).counts.converted == 1
    assert worker.run(kind="validate", of_run=1).counts.validated == 4


FORBIDDEN = [
    # V1, and what decides which of the two a bot runs, are the platform's.
    "UPDATE bots SET workflow = NULL",
    "UPDATE bots SET use_workflow_v2 = true",
    "UPDATE bots SET name = ''",
    "INSERT INTO bots (bot_id, name) VALUES ('x', 'x')",
    "DELETE FROM bots",
    "TRUNCATE bots CASCADE",
    "SELECT user_id FROM bots",
    "SELECT * FROM bots",
    "DO $$ BEGIN LOCK bots IN ACCESS EXCLUSIVE MODE; END $$",
    "UPDATE bot_workflow_versions SET status = 'published'",
    "DELETE FROM bot_workflow_versions",
    "TRUNCATE bot_workflow_versions CASCADE",
    "UPDATE workflow_execution_runs SET outputs = '{}'",
    "TRUNCATE workflow_execution_runs CASCADE",
    "UPDATE workflow_node_executions SET outputs = '{}'",
    "TRUNCATE workflow_node_executions",
    # History is written once.
    "UPDATE flowshift.audit SET actor = 'somebody else'",
    "UPDATE flowshift.ledger SET outcome = 'converted', code = NULL",
    "UPDATE flowshift.gate_readings SET outcome = 'passed'",
    "UPDATE flowshift.database_backups SET verified_by = 'me', verified_at = now(), differences = 0",
    "INSERT INTO flowshift.database_backups (backup_id) VALUES (gen_random_uuid())",
    "DELETE FROM flowshift.finished_bots",
    "TRUNCATE flowshift.audit",
    "UPDATE flowshift.alembic_version SET version_num = '0001'",
    "DELETE FROM flowshift.created_objects",
    # What others keep in the same database.
    "SELECT email FROM users",
    "INSERT INTO users VALUES ('x')",
    # Structure, and others' data by other ways.
    "DROP TABLE bots",
    "ALTER TABLE bots ADD x int",
    "CREATE INDEX ON bots (name)",
    "CREATE RULE r AS ON UPDATE TO bots DO INSTEAD NOTHING",
    "DROP TABLE flowshift.runs",
    "DROP SCHEMA flowshift CASCADE",
    "CREATE TABLE flowshift.x ()",
    "CREATE TABLE public.x ()",
    "CREATE SCHEMA x",
    "CREATE ROLE x",
    "COPY bots (bot_id) TO PROGRAM 'true'",
    "COPY (SELECT 1) TO '/dev/null'",
    "SELECT pg_read_file('/etc/passwd')",
    "SELECT rolpassword FROM pg_authid",
]


def test_the_role_cannot_do_what_workers_need_not(
    as_role: psycopg.Connection[tuple[object, ...]], fleet: Fleet
) -> None:
    fleet.add_many(1)
    fleet.run(validate="all")
    fleet.execute("CREATE TABLE users (email text)")
    fleet.execute("REVOKE CREATE ON SCHEMA public FROM PUBLIC")  # as PostgreSQL 15 has it

    for statement in FORBIDDEN:
        try:
            as_role.execute(statement.encode())
        except errors.InsufficientPrivilege:
            continue
        pytest.fail(f"it may: {statement}")


def test_the_role_has_its_rights_on_tables_of_later_upgrades(
    as_role: psycopg.Connection[tuple[object, ...]], fleet: Fleet
) -> None:
    fleet.execute("CREATE TABLE flowshift.later (id bigint GENERATED ALWAYS AS IDENTITY, x int)")

    as_role.execute("INSERT INTO flowshift.later (x) VALUES (1)")
    as_role.execute("UPDATE flowshift.later SET x = 2")
    assert as_role.execute("DELETE FROM flowshift.later RETURNING id, x").fetchall() == [(1, 2)]
    with pytest.raises(errors.InsufficientPrivilege):
        as_role.execute("TRUNCATE flowshift.later")


def test_every_table_of_ours_can_be_read_by_the_role(
    as_role: psycopg.Connection[tuple[object, ...]],
) -> None:
    for table in OUR_TABLES:
        as_role.execute(f"SELECT FROM flowshift.{table.name}".encode())


@pytest.fixture
def another(admin: sa.Engine) -> Iterator[Role]:
    """A role that is not there yet, gone in the end; its databases have to go first."""
    made = Role(f"Flowshift-test-{uuid.uuid4().hex[:8]}", "p\"'$x")
    yield made
    with admin.connect() as connection:
        connection.execute(sa.text(f'DROP ROLE IF EXISTS "{made.name}"'))


@pytest.fixture
def platform(admin: sa.Engine, another: Role) -> Iterator[str]:
    """The URL of a database of a platform's own, adopted, to be dropped before the role."""
    url = make_database(admin)
    with an_engine(url) as engine:
        make_platform(engine, with_v2_tables=True)
        schema.upgrade(engine)
    yield url
    drop_database(admin, url)


def test_the_file_may_be_run_again_and_takes_back_what_was_too_much(
    platform: str, another: Role
) -> None:
    grant(platform, another)
    with connected(platform) as owner:
        owner.execute(
            f'GRANT ALL ON ALL TABLES IN SCHEMA public, flowshift TO "{another.name}"'.encode()
        )
        owner.execute(
            "CREATE TABLE rated (run uuid REFERENCES workflow_execution_runs, secret text)"
        )
    grant(platform, another)

    with connected(another.url(platform)) as theirs:
        for statement in (b"UPDATE bots SET workflow = NULL", b"DELETE FROM bot_workflow_versions"):
            with pytest.raises(errors.InsufficientPrivilege):
                theirs.execute(statement)
        # Who refers to an execution is read, and nothing else of it.
        theirs.execute("SELECT run FROM rated")
        with pytest.raises(errors.InsufficientPrivilege):
            theirs.execute("SELECT secret FROM rated")
    with an_engine(another.url(platform)) as engine, engine.connect() as connection:
        assert check(connection, known.revisions()).problems == ()


def test_executions_can_be_locked_and_deleted_as_pruning_does(
    as_role: psycopg.Connection[tuple[object, ...]], fleet: Fleet
) -> None:
    fleet.add_many(1)
    fleet.run(validate="all")

    as_role.execute("SELECT FROM workflow_execution_runs FOR UPDATE SKIP LOCKED")
    assert as_role.execute("DELETE FROM workflow_execution_runs").rowcount > 0
    assert fleet.rows("SELECT FROM workflow_node_executions") == []


def test_a_role_that_may_create_tables_all_the_same_is_warned_of(
    platform: str, another: Role
) -> None:
    with connected(platform) as owner:
        owner.execute("GRANT CREATE ON SCHEMA public TO PUBLIC")
    assert "may create tables in the schema public" in grant(platform, another)

    with connected(platform) as owner:
        owner.execute("REVOKE CREATE ON SCHEMA public FROM PUBLIC")
        owner.execute(f'ALTER ROLE "{another.name}" CREATEDB'.encode())
    warned = grant(platform, another)
    assert "may create tables" not in warned
    assert "may do more" in warned


def test_before_the_upgrade_nothing_is_granted_and_no_role_is_made(
    empty_database: str, another: Role
) -> None:
    with an_engine(empty_database) as engine:
        make_platform(engine, with_v2_tables=True)
    with pytest.raises(AssertionError, match='schema "flowshift" does not exist'):
        grant(empty_database, another)
    with connected(empty_database) as owner:
        known = "SELECT FROM pg_roles WHERE rolname = %s"
        assert owner.execute(known, (another.name,)).fetchall() == []


def test_the_command_prints_the_file(flowshift: Run) -> None:
    assert flowshift("db", "role") == (0, FILE.read_text(), "")


def test_the_role_prunes_executions_runs_ledger_and_audit(
    fleet: Fleet, environment: dict[str, str]
) -> None:
    fleet.add_many(3)
    fleet.run(validate="all")
    fleet.run()
    fleet.execute("UPDATE workflow_execution_runs SET created_at = now() - interval '2 years'")
    fleet.execute(
        "UPDATE flowshift.runs SET finished_at = now() - interval '2 years';"
        "UPDATE flowshift.audit SET at = now() - interval '2 years'"
    )

    ended = subprocess.run(
        [sys.executable, "-m", "worker", "prune", "--json"],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    assert fleet.rows("SELECT FROM workflow_execution_runs") == []
    assert fleet.rows("SELECT FROM workflow_node_executions") == []
    assert fleet.rows("SELECT FROM flowshift.runs") == []
    assert len(fleet.rows("SELECT FROM flowshift.ledger")) == 3  # by which drafts are known
