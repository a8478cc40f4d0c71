"""Columns of the platform's that have other types and collations than the guide's."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
import sqlalchemy as sa

from migrations import known, upgrade
from tests import platforms
from tests.fleet import Fleet
from tests.integration.conftest import Run
from worker.db import bots, drafts
from worker.db.schema.check import check
from worker.errors import UsageError

ENUMS = """
CREATE TYPE ver_status AS ENUM ('draft', 'published', 'archived');
CREATE TYPE exec_status AS ENUM ('running', 'succeeded', 'failed');
CREATE TYPE "Node Status" AS ENUM ('running', 'completed', 'failed', 'skipped');
CREATE TYPE node_kind AS ENUM ('start', 'end', 'llm', 'knowledge-retrieval', 'text-join');
CREATE DOMAIN short AS varchar(20) CHECK (value = lower(value));
CREATE DOMAIN exec_domain AS exec_status;
CREATE DOMAIN node_domain AS "Node Status";
CREATE DOMAIN a_version AS varchar(50) CHECK (value ~ '^(draft|v[0-9.]+)$');
CREATE DOMAIN an_id AS varchar(50);
"""

FOLDED = """
CREATE COLLATION folded (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
"""

OTHER_COLUMNS: dict[str, dict[str, Any]] = {
    "enums": {
        "version_status": "ver_status",
        "run_status": "exec_status",
        "node_status": '"Node Status"',
        "node_type": "node_kind",
    },
    "an enum in another schema": {"version_status": "kept.ver_status"},
    "domains": {"version_status": "short", "run_status": "short", "node_status": "short"},
    "domains over enums": {"run_status": "exec_domain", "node_status": "node_domain"},
    "a domain of versions": {"version": "a_version"},
    "ids of a domain": {"bot_id": "an_id NOT NULL UNIQUE", "version_bot_id": "an_id"},
    "ids in another collation": {
        "bot_id": 'varchar(50) COLLATE "POSIX" NOT NULL UNIQUE',
        "version_bot_id": 'varchar(50) COLLATE "POSIX"',
    },
    "ids of the platform in the database's collation, of versions in another": {
        "version_bot_id": 'varchar(50) COLLATE "POSIX"',
    },
}


@pytest.fixture
def database(empty_database: str) -> str:
    """A database that a test makes itself, in the place of the one with our tables."""
    return empty_database


@pytest.mark.parametrize("kind", OTHER_COLUMNS)
def test_a_platform_whose_columns_have_other_types_converts_and_can_be_looked_at(
    kind: str, fleet: Fleet, flowshift: Run
) -> None:
    kept = "CREATE SCHEMA kept; CREATE TYPE kept.ver_status AS ENUM ('draft', 'published');"
    platforms.make(fleet.engine, before=ENUMS + kept, bots=5, **OTHER_COLUMNS[kind])
    works_and_can_be_looked_at(fleet, flowshift)


STATUS = "bot_workflow_versions.status is s, "
NODES = "workflow_node_executions"
WITHOUT_LABELS = [
    (
        "CREATE TYPE s AS ENUM ('Draft', 'published')",
        {"version_status": "s"},
        f"{STATUS}which does not take 'draft': ALTER TYPE … ADD VALUE adds it",
    ),
    (
        "CREATE DOMAIN s AS varchar(50) CHECK (value ~ '^v')",
        {"version": "s"},
        "bot_workflow_versions.version is s, which does not take 'draft': ALTER DOMAIN changes its check",
    ),
    (
        "CREATE TYPE s AS ENUM ('running', 'success', 'failed')",
        {"run_status": "s", "node_status": "s"},
        f"{NODES}.status is s, which does not take 'completed', 'skipped': ALTER TYPE … ADD VALUE adds it",
    ),
    (
        "CREATE TYPE s AS ENUM ('start', 'llm', 'end', 'knowledge-retrieval')",
        {"node_type": "s"},
        f"{NODES}.node_type is s, which does not take 'text-join': ALTER TYPE … ADD VALUE adds it",
    ),
    (
        "CREATE TYPE s AS ENUM ('start', 'llm', 'end', 'knowledge-retrieval', 'answer', 'text-join')",
        {"node_type": "s", "version_status": "varchar(20) NOT NULL, is_in_library boolean"},
        f"{NODES}.node_type is s, which does not take 'assigner', 'if-else': ALTER TYPE …",
    ),
    (
        "CREATE TYPE e AS ENUM ('draft', 'published'); CREATE DOMAIN s AS e",
        {"version_status": "s"},
        f"{STATUS}a domain over an enumeration, which PostgreSQL compares with nothing",
    ),
]


@pytest.mark.parametrize(("before", "columns", "problem"), WITHOUT_LABELS)
def test_a_column_that_does_not_take_our_words_stops_the_upgrade_and_the_check_says_which(
    before: str, columns: dict[str, Any], problem: str, fleet: Fleet
) -> None:
    platforms.make(fleet.engine, before=before, bots=2, adopt=False, **columns)

    with fleet.engine.connect() as connection:
        assert problem in "\n".join(check(connection, known.revisions()).problems)
    for _ in range(2):  # nothing was changed by the first
        with pytest.raises(UsageError, match=re.escape(problem)):
            upgrade.upgrade(fleet.engine)


def test_ids_in_a_collation_that_is_not_deterministic_work_too(
    fleet: Fleet, flowshift: Run
) -> None:
    fold(fleet)
    platforms.make(
        fleet.engine,
        bots=5,
        bot_id="varchar(50) COLLATE folded NOT NULL UNIQUE",
        version_bot_id="varchar(50) COLLATE folded",
        session_id="varchar(255) COLLATE folded",
    )
    works_and_can_be_looked_at(fleet, flowshift)


def fold(fleet: Fleet) -> None:
    """Make the collation `folded`, under which upper and lower case are equal."""
    try:
        fleet.execute(FOLDED)
    except sa.exc.NotSupportedError:
        pytest.skip("this PostgreSQL was built without ICU")


def works_and_can_be_looked_at(fleet: Fleet, flowshift: Run) -> None:
    platforms.converts_whole(fleet, 5)
    for command in (
        ["db", "check"],
        ["status"],
        ["show", "bot_0003"],
        ["test", "bot_0003", "--message", "hello"],
        ["executions"],
        ["executions", "--failed"],
        ["executions", "--bot", "bot_0003"],
    ):
        code, out, err = flowshift(*command)
        assert code == 0, (command, out, err)
    code, _, err = flowshift("show", "bot_00")  # what is like it
    assert (code, "bot_0001" in err) == (2, True), err


def test_rows_without_a_bot_id_are_passed_over_and_counted(fleet: Fleet, flowshift: Run) -> None:
    platforms.make(fleet.engine, bots=20, bot_id="varchar(50) UNIQUE")
    fleet.execute(
        "INSERT INTO bots (user_id, name, workflow)"
        " SELECT 1, 'old ' || n, (SELECT workflow FROM bots LIMIT 1) FROM generate_series(1, 12) n"
    )

    progress = fleet.run(batch_size=10)
    assert (progress.state, progress.counts.converted, progress.bots_total) == ("completed", 20, 20)
    assert [end for _, _, end, *_ in fleet.batch_slices(progress.run_id)] == [
        "bot_0010",
        "bot_0020",
    ]

    assert "12 of these rows have no bot_id: every run passes them over" in flowshift("status")[1]
    assert json.loads(flowshift("status", "--json")[1])["fleet"]["without_id"] == 12

    limited = fleet.run(limit=25, dry_run=True)
    assert limited.counts.bots == 20


def test_ids_in_another_collation_are_looked_up_in_the_ledger_by_its_index(
    fleet: Fleet,
) -> None:
    column = 'varchar(50) COLLATE "POSIX"'
    platforms.make(fleet.engine, bot_id=f"{column} NOT NULL UNIQUE", version_bot_id=column)
    compare = drafts._COMPARE.replace("%b::text[]", "'{a}'::text[]").replace(
        "%b::jsonb[]", "'{null}'::jsonb[]"
    )
    with fleet.engine.begin() as connection:
        connection.execute(sa.text("SET LOCAL enable_seqscan = off"))
        plan = "\n".join(connection.exec_driver_sql(f"EXPLAIN {compare}").scalars())
    assert "Index Cond: (bot_id = (d.bot_id)::text)" in plan


@pytest.mark.parametrize("dry_run", [False, True])
def test_an_id_that_several_bots_have_is_skipped_and_the_others_are_converted(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch, dry_run: bool
) -> None:
    """Adopting makes the id unique; the platform may drop that index later."""
    monkeypatch.setattr(bots, "FETCH_ROWS", 2)
    monkeypatch.setattr(bots, "CHUNK_BYTES", 1)  # the rows of one id lie on either side of a chunk
    platforms.make(fleet.engine, bots=6)
    fleet.execute("ALTER TABLE bots DROP CONSTRAINT bots_bot_id_key CASCADE")
    fleet.execute(
        "INSERT INTO bots (bot_id, user_id, name, workflow)"
        " SELECT bot_id, user_id, name, workflow FROM bots WHERE bot_id = 'bot_0003'"
    )

    progress = fleet.run(dry_run=dry_run, batch_size=4)

    outcomes = fleet.outcomes(progress.run_id)
    ids = [f"bot_{n:04}" for n in range(1, 7)]
    assert outcomes == {
        bot_id: "skipped duplicate_bot_id" if bot_id == "bot_0003" else "converted"
        for bot_id in ids
    }
    assert set(fleet.drafts()) == (set() if dry_run else {*ids} - {"bot_0003"})
    if not dry_run:
        validated = fleet.run(kind="validate", of_run=progress.run_id)
        assert validated.counts.failed == 0
