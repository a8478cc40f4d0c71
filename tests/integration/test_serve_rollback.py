"""Rollback, named alerts and restored versions over HTTP: what the command line does, with its rules."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import httpx2 as httpx
import pytest

from tests.fleet import Fleet, a_workflow
from tests.gate import Gate
from tests.integration.conftest import Run
from tests.publishing import Publishing
from tests.web import said, serving_operator
from worker.runtime import Runtime


@pytest.fixture
def client(current: Runtime, tmp_path: Path) -> Iterator[httpx.Client]:
    """The client of ann, an operator; `v` is the token of a viewer."""
    with serving_operator(current, tmp_path) as client:
        yield client


@pytest.fixture
def gate(fleet: Fleet) -> Gate:
    """Three bots that are live by publication 1."""
    fleet.add_many(3)
    fleet.run(validate="sample:1")
    gate = Gate(Publishing(fleet))
    gate.start(text="all")
    gate.work()
    return gate


def roll_back_runs(fleet: Fleet) -> list[int]:
    rows = fleet.rows("SELECT run_id FROM flowshift.runs WHERE kind = 'roll_back' ORDER BY run_id")
    return [row.run_id for row in rows]


def test_the_preview_is_that_of_the_command_line_and_changes_nothing(
    gate: Gate, client: httpx.Client, flowshift: Run
) -> None:
    by_http = client.post("/rollbacks", json={"publication_id": 1, "dry_run": True})
    typed = json.loads(flowshift("rollback", "--publication", "1", "--dry-run", "--json")[1])

    assert (by_http.status_code, by_http.json()) == (200, typed)
    assert typed["preview"]["returns"]["bots"] == 3
    assert gate.live() == set(gate.bots(1))
    assert roll_back_runs(gate.fleet) == []


def test_a_rollback_needs_the_number_of_bots_and_the_plan_that_was_read(
    gate: Gate, client: httpx.Client
) -> None:
    asked = {"publication_id": 1}
    plan = client.post("/rollbacks", json={**asked, "dry_run": True}).json()["plan"]
    uncounted = client.post("/rollbacks", json={**asked, "plan": plan})
    miscounted = client.post("/rollbacks", json={**asked, "plan": plan, "confirm_bots": 2})
    gate.fleet.change("bot-00001", a_workflow("another {question}"))
    stale = client.post("/rollbacks", json={**asked, "plan": plan, "confirm_bots": 3})

    assert said(uncounted) == (422, "not_possible")
    assert "confirm_bots: 3" in uncounted.json()["detail"]
    assert said(miscounted) == (422, "not_possible")
    assert said(stale) == (412, "changed")
    assert roll_back_runs(gate.fleet) == []
    assert gate.states()[0] == "watching"


def test_workers_roll_back_once_for_a_key_by_the_name_of_who_asks(
    gate: Gate, client: httpx.Client
) -> None:
    plan = client.post("/rollbacks", json={"all": True, "dry_run": True}).json()["plan"]
    asked = {"all": True, "plan": plan, "confirm_bots": 3, "reason": "errors"}
    key = {"Idempotency-Key": "k"}
    begun = client.post("/rollbacks", json=asked, headers=key)
    again = client.post("/rollbacks", json=asked, headers=key)
    [run_id] = begun.json()["runs"]
    gate.work(run_id)
    late = client.post("/rollbacks", json=asked, headers=key)
    other = client.post("/rollbacks", json=asked, headers={"Idempotency-Key": "other"})
    less = {**asked, "all": False, "bot_ids": ["bot-00001"]}
    taken = client.post("/rollbacks", json=less, headers=key)
    run = client.post("/runs", json={"dry_run": True}, headers=key)

    assert [said(one) for one in (taken, run)] == [(409, "conflict")] * 2
    assert "belongs to rollback 1, and this asks for a run" in run.json()["detail"]
    assert (begun.status_code, begun.headers["location"]) == (202, f"/api/v1/runs/{run_id}")
    assert again.json() == late.json() == {"runs": [run_id]}
    assert (other.status_code, other.json()["publications"]) == (200, [])
    assert roll_back_runs(gate.fleet) == [run_id]
    assert gate.live() == set()
    [entry] = gate.fleet.rows(
        "SELECT actor, reason FROM flowshift.audit WHERE action = 'publication.rolling_back'"
    )
    assert tuple(entry) == ("ann", "publication 1: errors")


def test_only_the_bots_or_the_wave_that_were_named_go_back(
    gate: Gate, client: httpx.Client
) -> None:
    asked = {"bot_ids": ["bot-00001"], "confirm_bots": 1}
    [run_id] = client.post("/rollbacks", json=asked).json()["runs"]
    gate.work(run_id)

    assert gate.live() == {"bot-00000", "bot-00002"}
    none = client.post("/rollbacks", json={"publication_id": 1, "wave": 9, "dry_run": True})
    assert said(none) == (404, "not_found")
    assert said(client.post("/rollbacks", json={"wave": 1, "all": True})) == (422, "not_possible")
    assert said(client.post("/rollbacks", json={})) == (422, "not_possible")
    unknown = client.post("/rollbacks", json={"bot_ids": ["nobody"], "dry_run": True})
    assert said(unknown) == (422, "not_possible")


def test_a_viewer_rolls_nothing_back_and_restores_nothing(gate: Gate, client: httpx.Client) -> None:
    viewer = {"Authorization": "Bearer v"}
    asked = {"all": True, "confirm_bots": 3}

    assert client.post("/rollbacks", json=asked, headers=viewer).status_code == 403
    at = "/bots/bot-00000/workflow-versions/v1.0/restore"
    assert client.post(at, headers=viewer).status_code == 403
    assert gate.live() == set(gate.bots(1))


def test_a_publication_names_the_alerts_that_its_waves_wait_for(
    fleet: Fleet, client: httpx.Client
) -> None:
    fleet.add_many(2)
    fleet.run(validate="all")
    asked = {"run_id": 1, "confirm_bots": 2, "waves": "1, all", "without_backup": True}
    refused = client.post("/publications", json={**asked, "alerts": ["no-wroker"]})
    begun = client.post("/publications", json={**asked, "alerts": ["no-worker"]})

    assert said(refused) == (422, "not_possible")
    assert "did you mean no-worker?" in refused.json()["detail"]
    assert begun.status_code == 201
    assert client.get("/publications/1").json()["options"]["alerts"] == ["no-worker"]


def test_a_version_goes_back_into_the_draft_with_its_variables(
    gate: Gate, client: httpx.Client
) -> None:
    gate.fleet.execute(
        "UPDATE bot_workflow_versions SET environment_variables = '{\"a\": 1}'"
        " WHERE bot_id = 'bot-00000' AND version = 'v1.0'"
    )
    at = "/bots/bot-00000/workflow-versions"
    version_id = client.get(f"{at}/v1.0").json()["id"]
    restored = client.post(f"{at}/{version_id}/restore", json={"reason": "as it was"})
    again = client.post(f"{at}/v1.0/restore")

    assert (restored.status_code, restored.json()["changed"]) == (200, True)
    assert again.json()["changed"] is False
    draft, version = (client.get(f"{at}/{name}").json() for name in ("draft", "v1.0"))
    assert draft["environment_variables"] == {"a": 1}
    assert draft["graph"] == version["graph"]
    assert said(client.post(f"{at}/{draft['id']}/restore")) == (409, "conflict")
    assert said(client.post(f"{at}/v9.9/restore")) == (404, "not_found")
    [entry] = gate.fleet.rows(
        "SELECT actor, reason FROM flowshift.audit WHERE action = 'draft.restored'"
    )
    assert tuple(entry) == ("ann", "as it was")
