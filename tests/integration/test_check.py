"""`check`: what a database holds, what is missing, and whether it is ready."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import msgspec
import pytest
import sqlalchemy as sa
from alembic.script import ScriptDirectory

from migrations import known
from migrations import upgrade as schema
from tests.integration.test_migrations import an_engine, catalog, make_platform, run
from worker.db.engine import database_url
from worker.db.platform_tables import PLATFORM_TABLES
from worker.db.schema.check import Readiness, TableReport, check
from worker.db.schema.needs import needs_of


@pytest.fixture
def engine(empty_database: str) -> Iterator[sa.Engine]:
    with an_engine(empty_database) as engine:
        yield engine


def checked(engine: sa.Engine) -> Readiness:
    with engine.connect() as connection:
        return check(connection, known.revisions())


def report(readiness: Readiness, name: str) -> TableReport:
    return next(table for table in readiness.tables if table.name == name)


TABLES = [
    ("bots", "platform"),
    ("bot_workflow_versions", "platform"),
    ("workflow_execution_runs", "platform"),
    ("workflow_node_executions", "platform"),
    ("flowshift.runs", "flowshift"),
    ("flowshift.batches", "flowshift"),
    ("flowshift.ledger", "flowshift"),
    ("flowshift.audit", "flowshift"),
    ("flowshift.budgets", "flowshift"),
    ("flowshift.created_objects", "flowshift"),
    ("flowshift.prunes", "flowshift"),
    ("flowshift.leaving_partitions", "flowshift"),
    ("flowshift.heartbeats", "flowshift"),
    ("flowshift.metric_totals", "flowshift"),
    ("flowshift.http_windows", "flowshift"),
    ("flowshift.backups", "flowshift"),
    ("flowshift.publications", "flowshift"),
    ("flowshift.waves", "flowshift"),
    ("flowshift.publication_bots", "flowshift"),
    ("flowshift.gate_readings", "flowshift"),
    ("flowshift.proofs", "flowshift"),
    ("flowshift.database_backups", "flowshift"),
    ("flowshift.finished_bots", "flowshift"),
    ("flowshift.gate_looks", "flowshift"),
    ("flowshift.gate_bots", "flowshift"),
    ("flowshift.gate_bad_minutes", "flowshift"),
    ("flowshift.gate_control_minutes", "flowshift"),
    ("flowshift.notifications", "flowshift"),
    ("flowshift.deliveries", "flowshift"),
    ("flowshift.channels", "flowshift"),
    ("flowshift.alerts", "flowshift"),
]


def test_an_empty_database_lacks_every_table_and_is_not_ready(engine: sa.Engine) -> None:
    found = checked(engine)

    assert not found.ready
    assert (found.revision, found.newest_revision) == (None, known.head())
    assert [(table.name, table.owner) for table in found.tables] == TABLES
    assert not any(table.present for table in found.tables)
    assert found.problems[:2] == (
        "flowshift's schema is not there; `flowshift db upgrade` creates it",
        "bots is not there; `flowshift db upgrade` creates it",
    )
    assert len(found.problems) == 1 + len(TABLES)


@pytest.mark.parametrize("platform", ["none", "without V2", "with V2"])
def test_an_upgraded_database_is_ready_whatever_it_began_as(
    engine: sa.Engine, platform: str
) -> None:
    if platform != "none":
        make_platform(engine, with_v2_tables=platform == "with V2")
    schema.upgrade(engine)

    found = checked(engine)

    assert found.problems == ()
    assert found.ready
    assert found.revision == found.newest_revision
    assert all(table.present for table in found.tables)
    assert not any(table.missing_columns or table.missing_indexes for table in found.tables)


def test_a_platform_before_the_upgrade_shows_what_the_upgrade_will_add(engine: sa.Engine) -> None:
    make_platform(engine, with_v2_tables=True)
    run(engine, "DROP INDEX ix_one_draft; DROP TABLE workflow_node_executions")
    before = catalog(engine)

    found = checked(engine)

    assert not found.ready
    assert report(found, "bots").missing_columns == ("use_workflow_v2", "legacy_workflow")
    assert report(found, "bots").missing_indexes == ()
    assert report(found, "bot_workflow_versions").missing_indexes == (
        "uq_bot_workflow_versions_draft",
    )
    assert not report(found, "workflow_node_executions").present
    platform = [text for text in found.problems if "flowshift." not in text]
    assert platform == [
        "flowshift's schema is not there; `flowshift db upgrade` creates it",
        "bots has no column use_workflow_v2; `flowshift db upgrade` adds it",
        "bots has no column legacy_workflow; `flowshift db upgrade` adds it",
        (
            "bot_workflow_versions has no index that serves as uq_bot_workflow_versions_draft;"
            " `flowshift db upgrade` creates it"
        ),
        "workflow_node_executions is not there; `flowshift db upgrade` creates it",
    ]
    assert catalog(engine) == before


def test_what_a_person_has_to_settle_is_said_without_offering_the_upgrade(
    engine: sa.Engine,
) -> None:
    make_platform(engine, with_v2_tables=True)
    run(
        engine,
        "ALTER TABLE bot_workflow_versions DROP features; DROP INDEX ix_bots_bot_id CASCADE;"
        "INSERT INTO bots (bot_id, name) VALUES ('bot-3', 'Again')",
    )

    problems = checked(engine).problems

    assert "bot_workflow_versions has no column features: add it as the platform has it" in problems
    assert any(text.startswith("bots has 1 duplicate bot_id") for text in problems)


def test_what_differs_without_harm_is_noted_and_not_a_problem(engine: sa.Engine) -> None:
    make_platform(engine, with_v2_tables=True)
    run(engine, "ALTER TABLE bots ADD legacy_workflow jsonb")
    schema.upgrade(engine)

    found = checked(engine)

    assert found.ready
    assert "legacy_workflow is jsonb, workflow is json" in report(found, "bots").notes
    assert (
        "created_at has no time zone; flowshift writes and reads UTC there"
        in report(found, "bot_workflow_versions").notes
    )
    assert (
        "left alone: library_name, library_visibility, is_in_library"
        in report(found, "bot_workflow_versions").notes
    )


def test_a_lost_index_of_ours_is_a_problem(engine: sa.Engine) -> None:
    schema.upgrade(engine)
    run(engine, "DROP INDEX flowshift.ledger_failed")

    found = checked(engine)

    assert report(found, "flowshift.ledger").missing_indexes == ("ledger_failed",)
    assert not found.ready


def test_a_database_ahead_of_or_behind_this_program_is_not_ready(engine: sa.Engine) -> None:
    schema.upgrade(engine, "0001")
    newest = known.head()
    assert f"the database is at revision 0001; `flowshift db upgrade` brings it to {newest}" in (
        checked(engine).problems
    )

    schema.upgrade(engine)
    run(engine, "UPDATE flowshift.alembic_version SET version_num = '9999'")
    assert checked(engine).problems == (
        "the database is at revision 9999, which is newer than this flowshift",
    )


def test_rights_that_the_role_lacks_are_named(engine: sa.Engine, empty_database: str) -> None:
    schema.upgrade(engine)
    role = f"flowshift_test_{uuid.uuid4().hex[:12]}"
    run(engine, f"CREATE ROLE {role} LOGIN; GRANT USAGE ON SCHEMA flowshift TO {role}")
    run(engine, f"GRANT ALL ON ALL TABLES IN SCHEMA public, flowshift TO {role}")
    run(engine, f"REVOKE ALL ON bots FROM {role}; REVOKE INSERT ON flowshift.audit FROM {role}")
    run(engine, f"GRANT SELECT (bot_id, workflow) ON bots TO {role}")
    try:
        limited = database_url(empty_database).set(username=role)
        with an_engine(limited.render_as_string(hide_password=False)) as theirs:
            found = checked(theirs)
    finally:
        run(engine, f"DROP OWNED BY {role}; DROP ROLE {role}")

    again = "run the SQL of `flowshift db role` again"
    others = "name, use_workflow_v2, legacy_workflow, updated_at"
    assert found.problems == (
        f"the role {role} has no right to SELECT bots ({others}): {again}",
        f"the role {role} has no right to UPDATE bots (legacy_workflow): {again}",
        f"the role {role} has no right to INSERT flowshift.audit: {again}",
    )


def test_a_report_can_be_printed_as_json(engine: sa.Engine) -> None:
    found = msgspec.json.decode(msgspec.json.encode(checked(engine)))

    assert found["ready"] is False
    assert found["tables"][0]["name"] == "bots"


def test_the_check_and_the_first_migration_need_the_same(engine: sa.Engine) -> None:
    """The models may move on; until they do, the two lists of needs say one thing."""
    script = ScriptDirectory.from_config(schema.alembic_config()).get_revision("0001")
    assert script is not None

    for frozen, table in zip(script.module.TABLES, PLATFORM_TABLES, strict=True):
        current = needs_of(table)
        assert frozen.table == current.table
        assert frozen.columns == current.columns
        assert frozen.added == current.added
        assert frozen.inserts == current.inserts
        needed = {(index.columns, index.unique, index.where) for index in frozen.indexes}
        assert needed == {(index.columns, index.unique, index.where) for index in current.indexes}
