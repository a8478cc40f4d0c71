"""Bots that are flagged V2 though no version of them is published: a fleet that cannot answer."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from psycopg import sql

from tests import platforms
from tests.fleet import Fleet, a_broken_workflow, a_workflow
from tests.integration.conftest import Run
from worker.db import bots, bulk
from worker.errors import UsageError
from worker.sample import insert_sample
from worker.steps.start import Request

FLAGGED = "skipped flagged_without_version"


def outcome(fleet: Fleet, bot_id: str = "a", **request: Any) -> str:
    return fleet.outcomes(fleet.run(**request).run_id)[bot_id]


def test_a_flagged_bot_without_any_version_is_no_bot_that_runs_v2(fleet: Fleet) -> None:
    fleet.add("a", a_workflow(), uses_v2=True, published=False)
    fleet.add("b", a_workflow(), uses_v2=True)
    fleet.add("c", None, uses_v2=True, published=False)

    run = fleet.run()

    assert fleet.outcomes(run.run_id) == {
        "a": FLAGGED,
        "b": "skipped already_v2",
        "c": "skipped no_workflow",
    }
    assert (fleet.drafts(), fleet.backups()) == ({}, {})
    assert run.state == "completed"


@pytest.mark.parametrize("status", ["draft", "archived"])
def test_a_version_that_is_not_published_does_not_answer_either(fleet: Fleet, status: str) -> None:
    fleet.add("a", a_workflow(), uses_v2=True, published=False)
    fleet.add_version("a", "v1.0", status)
    assert outcome(fleet) == FLAGGED


def test_another_bots_published_version_does_not_count(fleet: Fleet) -> None:
    fleet.add("a", a_workflow(), uses_v2=True, published=False)
    fleet.add("b", a_workflow(), published=True)
    assert outcome(fleet) == FLAGGED


def test_include_flagged_converts_them_and_leaves_what_runs_v2_alone(fleet: Fleet) -> None:
    fleet.add("a", a_workflow(), uses_v2=True, published=False)
    fleet.add("b", a_workflow(), uses_v2=True)

    assert outcome(fleet, dry_run=True, include_flagged=True) == "converted"
    assert fleet.drafts() == {}
    run = fleet.run(include_flagged=True)

    assert fleet.outcomes(run.run_id) == {"a": "converted", "b": "skipped already_v2"}
    assert set(fleet.drafts()) == set(fleet.backups()) == {"a"}
    assert fleet.get(run.run_id).options.include_flagged
    assert fleet.rows("SELECT bot_id FROM bots WHERE use_workflow_v2 ORDER BY 1") == [
        ("a",),
        ("b",),
    ]


@pytest.mark.parametrize("dry_run", [False, True])
def test_a_retry_takes_flagged_bots_if_its_run_did(fleet: Fleet, dry_run: bool) -> None:
    fleet.add("a", a_broken_workflow(), uses_v2=True, published=False)
    run = fleet.run(include_flagged=True, dry_run=dry_run)
    fleet.change("a", a_workflow())

    retry = fleet.run(retry_of=run.run_id)

    assert fleet.outcomes(retry.run_id) == {"a": "converted"}
    assert fleet.get(retry.run_id).options.include_flagged


def test_a_retry_leaves_them_if_its_run_did_and_nothing_else_is_said(fleet: Fleet) -> None:
    fleet.add("a", a_broken_workflow())
    run = fleet.run()
    fleet.change("a", a_workflow())
    fleet.execute("UPDATE bots SET use_workflow_v2 = true")

    assert fleet.outcomes(fleet.run(retry_of=run.run_id).run_id) == {"a": FLAGGED}
    again = fleet.run(retry_of=run.run_id, include_flagged=True)
    assert fleet.outcomes(again.run_id) == {"a": "converted"}


def test_a_bot_that_is_published_meanwhile_runs_v2(fleet: Fleet) -> None:
    fleet.add("a", a_workflow(), uses_v2=True, published=False)
    run = fleet.planned(include_flagged=True)
    fleet.add_version("a", "v1.0", "published")

    fleet.convert(run.run_id, 1)

    assert fleet.outcomes(run.run_id) == {"a": "skipped already_v2"}


class TestPlatformsOwnTypes:
    @pytest.fixture
    def database(self, empty_database: str) -> str:
        """A database that a test makes itself."""
        return empty_database

    @pytest.mark.parametrize("labels", ["'draft', 'published'", "'draft', 'live'"])
    def test_the_status_may_be_an_enumeration_with_and_without_that_label(
        self, fleet: Fleet, labels: str
    ) -> None:
        kind = f"CREATE TYPE ver_status AS ENUM ({labels})"
        platforms.make(fleet.engine, before=kind, bots=2, version_status="ver_status")
        fleet.execute("UPDATE bots SET use_workflow_v2 = true")
        wanted = {"bot_0001": FLAGGED, "bot_0002": FLAGGED}
        if "published" in labels:
            fleet.add_version("bot_0002", "v1.0", "published")
            wanted["bot_0002"] = "skipped already_v2"

        assert fleet.outcomes(fleet.run().run_id) == wanted


def test_one_statement_looks_for_versions_by_the_index_on_the_bot(fleet: Fleet) -> None:
    fleet.add_many(300)
    fleet.execute("UPDATE bots SET use_workflow_v2 = true")
    fleet.execute(
        "INSERT INTO bot_workflow_versions (bot_id, version, status, graph) "
        "SELECT bot_id, 'v' || n, 'published', '{}' FROM bots, generate_series(1, 30) n"
    )
    fleet.execute("ANALYZE bots, bot_workflow_versions")
    condition = sql.SQL("b.bot_id > 'bot-00010' AND b.bot_id <= 'bot-00040'")
    query = bots._read_query(condition, recipe=None).as_string()

    plan = "\n".join(row[0] for row in fleet.rows(f"EXPLAIN {query}".replace(":", r"\:")))

    assert "Seq Scan on bot_workflow_versions" not in plan, plan
    assert plan.count("using idx_bot_workflow_versions") >= 1, plan


def test_show_status_and_the_summary_say_what_is_wrong_and_what_to_do(
    flowshift: Run, fleet: Fleet
) -> None:
    fleet.add("a", a_workflow(), uses_v2=True, published=False)
    run = fleet.run()
    fleet.add("b", a_workflow(), uses_v2=True)

    code, out, _ = flowshift("status", str(run.run_id))
    assert code == 0
    assert "flagged_without_version 1" in out
    assert "flowshift migrate --include-flagged" in " ".join(out.split())
    _, out, _ = flowshift("status", "--json", str(run.run_id))
    assert json.loads(out)["run"]["codes"] == {"skipped:flagged_without_version": 1}
    assert json.loads(out)["run"]["options"]["include_flagged"] is False
    assert json.loads(out)["fleet"]["v2_unpublished"] == 1
    _, out, _ = flowshift("status")
    assert "2 on V2 (1 of them without a published version: they cannot answer)" in " ".join(
        out.split()
    )

    _, out, _ = flowshift("show", "a")
    assert "flagged V2 without a published version (it cannot answer)" in out
    assert "--include-flagged converts it" in out
    shown = json.loads(flowshift("show", "a", "--json")[1])
    assert (shown["uses_v2"], shown["is_published"]) == (True, False)
    assert "runs v1.0, which flowshift did not publish, " in flowshift("show", "b")[1]


def test_a_message_by_name_may_say_it(fleet: Fleet) -> None:
    fleet.add("a", a_workflow(), uses_v2=True, published=False)
    options = json.loads('{"include_flagged": true, "dry_run": true}')
    run = fleet.run(**msgspec.structs.asdict(msgspec.convert(options, Request)))
    assert fleet.outcomes(run.run_id) == {"a": "converted"}


def test_a_validation_takes_no_such_option(fleet: Fleet) -> None:
    fleet.add("a", a_workflow())
    with pytest.raises(UsageError, match="a validation writes no drafts"):
        fleet.start(kind="validate", bot_ids=("a",), include_flagged=True)


def test_the_sample_fleets_bots_on_v2_have_a_version_to_run(fleet: Fleet) -> None:
    with fleet.engine.connect() as connection:
        insert_sample(bulk.driver(connection), 100)
    found = fleet.rows(
        "SELECT v.status FROM bots b JOIN bot_workflow_versions v USING (bot_id) "
        "WHERE use_workflow_v2"
    )
    assert [row.status for row in found] == ["published"]
