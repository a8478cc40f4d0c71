"""Runs, publications, the audit trail over HTTP: what the command line does, by a person's name."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2 as httpx
import pytest
import sqlalchemy as sa

from tests.fleet import Fleet, a_workflow
from tests.integration.conftest import Run
from tests.web import said, serving_operator
from worker.db import outcomes
from worker.runtime import Runtime
from worker.steps.plan import plan_run


@pytest.fixture
def client(current: Runtime, tmp_path: Path) -> Iterator[httpx.Client]:
    """The client of ann, an operator."""
    with serving_operator(current, tmp_path) as client:
        yield client


def actors(fleet: Fleet) -> set[tuple[str, str]]:
    return {
        (row.actor, row.action) for row in fleet.rows("SELECT actor, action FROM flowshift.audit")
    }


def test_a_run_is_started_once_for_a_key_and_controlled_by_the_name_of_who_asks(
    fleet: Fleet, client: httpx.Client
) -> None:
    fleet.add_many(3)
    key = {"Idempotency-Key": "monday"}
    first = client.post("/runs", json={"batch_size": 1}, headers=key)
    again = client.post("/runs", json={"batch_size": 1}, headers=key)
    assert (first.status_code, first.headers["location"]) == (201, "/api/v1/runs/1")
    assert first.json()["requested_by"] == "ann"
    assert again.json()["run_id"] == 1

    planned = client.post("/runs/1/pause", json={"reason": "lunch"})
    plan_run(fleet.engine, 1, actor="test")
    paused = client.post("/runs/1/pause", json={"reason": "lunch"}).json()
    twice = client.post("/runs/1/pause").json()
    tuned = client.post("/runs/1/tune", json={"max_rate": 5, "concurrency": None}).json()
    resumed = client.post("/runs/1/resume").json()
    cancelled = client.post("/runs/1/cancel", json={"reason": "wrong bots"}).json()

    assert said(planned) == (409, "conflict")
    assert (paused["changed"], paused["run"]["state"]) == (True, "paused")
    assert twice["changed"] is False
    assert tuned == {"run_id": 1, "changed": {"max_rate": [None, 5.0]}}
    assert (resumed["changed"], resumed["run"]["state"]) == (True, "running")
    assert cancelled["run"]["state"] == "cancelled"
    assert said(client.post("/runs/1/resume")) == (409, "conflict")
    names = {"run.paused", "run.tuned", "run.running", "run.cancelled"}
    assert {("ann", name) for name in names} <= actors(fleet)


def test_a_run_is_the_same_json_over_http_and_on_the_command_line(
    fleet: Fleet, client: httpx.Client, flowshift: Run
) -> None:
    fleet.add_many(2)
    fleet.add("bad", a_workflow(temperature=9))
    fleet.run()
    fleet.run(dry_run=True)

    by_http = client.get("/runs").json()
    assert by_http == json.loads(flowshift("runs", "--json")[1])
    one = client.get("/runs/1").json()
    assert one == json.loads(flowshift("status", "1", "--json")[1])["run"]
    assert one["failures"] == [
        {"bot_id": "bad", "code": "invalid_config", "message": one["failures"][0]["message"]}
    ]
    whole, typed = client.get("/status").json(), json.loads(flowshift("status", "--json")[1])
    assert set(whole) == set(typed)
    assert {**whole, "run": typed["run"]} == {**typed, "publications": []}
    health = client.get("/health").json()
    assert (health["healthy"], health) == (False, json.loads(flowshift("health", "--json")[1]))
    assert client.get("/audit").json() == json.loads(flowshift("audit", "--json")[1])


def test_lists_are_paged_by_key(fleet: Fleet, client: httpx.Client) -> None:
    for number in range(7):
        fleet.add(f"bot-{number}", a_workflow(temperature=9))
    fleet.run()
    fleet.run()
    fleet.run()

    assert [run["run_id"] for run in client.get("/runs?limit=2").json()] == [3, 2]
    assert [run["run_id"] for run in client.get("/runs?limit=2&before=2").json()] == [1]
    entries = client.get("/audit?limit=2").json()
    before = client.get(f"/audit?limit=2&before={entries[0]['id']}").json()
    assert [one["id"] + 2 for one in before] == [one["id"] for one in entries]

    found: list[str] = []
    after: dict[str, str] = {}
    while True:
        page = client.get("/runs/1/failures", params={"limit": "3", **after}).json()
        found += [one["bot_id"] for one in page["items"]]
        if page["next"] is None:
            break
        after = {"after": page["next"]}
    assert found == [f"bot-{number}" for number in range(7)]


def test_failures_stream_as_lines_of_json(fleet: Fleet, client: httpx.Client) -> None:
    fleet.add("a", a_workflow(temperature=9))
    fleet.add("b", {"nodes": [], "edges": []})
    fleet.run()

    answer = client.get("/runs/1/failures.ndjson")
    lines = [json.loads(line) for line in answer.text.splitlines()]
    one = client.get("/runs/1/failures.ndjson", params={"code": "no_nodes"}).text

    assert answer.headers["content-type"] == "application/x-ndjson"
    assert [(line["bot_id"], line["code"]) for line in lines] == [
        ("a", "invalid_config"),
        ("b", "no_nodes"),
    ]
    assert one.count("\n") == 1
    assert said(client.get("/runs/9/failures.ndjson")) == (404, "not_found")


def test_the_failed_bots_of_a_run_are_taken_again(fleet: Fleet, client: httpx.Client) -> None:
    fleet.add("a", a_workflow(temperature=9))
    fleet.run()

    retried = client.post("/runs/1/retry", json={"code": "invalid_config"})
    assert (retried.status_code, retried.json()["retry_of"]) == (201, 1)
    assert said(client.post("/runs/1/retry", json={"code": "nonsense"}))[0] == 422
    assert said(client.post("/runs/1/retry", json={"cod": "x"})) == (400, "invalid_request")
    assert said(client.post("/runs", json={"limit": 0})) == (422, "not_possible")
    assert said(client.get("/runs/77")) == (404, "not_found")


def publish(client: httpx.Client, **given: Any) -> httpx.Response:
    return client.post("/publications", json={"waves": "1, all", **given})


def test_a_publication_begins_only_with_the_number_of_its_bots_and_is_moved_by_hand(
    fleet: Fleet, client: httpx.Client
) -> None:
    fleet.add_many(3)
    fleet.run(validate="all")
    plan = publish(client, run_id=1, dry_run=True).json()
    refused = publish(client, run_id=1)
    going = publish(client, run_id=1, confirm_bots=3, without_backup=True)

    assert plan == {
        "bots": 3,
        "waves": [{"label": "1", "bots": 1}, {"label": "all", "bots": 2}],
        "codes": {"ready": 3},
    }
    assert (said(refused), "confirm_bots: 3" in refused.text) == ((422, "not_possible"), True)
    assert (going.status_code, going.headers["location"]) == (201, "/api/v1/publications/1")

    held = [client.post("/publications/1/hold", json={"reason": "x"}).json() for _ in range(2)]
    shown = client.get("/publications/1").json()
    went = client.post("/publications/1/go").json()
    gate = client.get("/publications/1/waves/1/gate").json()
    stopped = client.post("/publications/1/stop").json()

    assert [one["changed"] for one in held] == [True, False]
    assert (shown["state"], shown["state_reason"], shown["requested_by"]) == ("held", "x", "ann")
    assert shown["options"]["waves"] == "1, all"
    assert [(wave["number"], wave["verdict"]) for wave in shown["waves"]] == [(1, None), (2, None)]
    assert (went["publication_id"], gate["outcome"], gate["agrees"]) == (1, None, True)
    assert stopped == {"publication_id": 1, "changed": True}
    assert [one["state"] for one in client.get("/publications").json()] == ["stopped"]
    assert client.get("/publications?before=1").json() == []
    assert said(client.post("/publications/1/accept", json={"reason": "r"})) == (409, "conflict")
    assert said(client.get("/publications/1/waves/9/gate")) == (404, "not_found")
    assert said(client.get("/publications/9")) == (404, "not_found")


def test_a_page_of_failures_is_read_by_its_index(fleet: Fleet) -> None:
    fleet.add_many(1)
    fleet.run()
    fleet.execute(
        "INSERT INTO flowshift.ledger (run_id, bot_id, outcome, code, message, batch)"
        " SELECT 1, 'x' || n, 'failed', 'cycle', '', 1 FROM generate_series(1, 20000) n"
    )
    fleet.execute("ANALYZE flowshift.ledger")
    asked: list[tuple[str, Any]] = []

    def note(_: object, __: object, statement: str, values: Any, *___: object) -> None:
        asked.append((statement, values))

    with fleet.engine.connect() as connection:
        sa.event.listen(connection, "before_cursor_execute", note)
        page = outcomes.page(connection, 1, limit=5, after=("cycle", "x19000"))
        (statement, values) = asked[0]
        lines = connection.exec_driver_sql(f"EXPLAIN {statement}", values)
        plan = "\n".join(line for (line,) in lines)

    assert [one.bot_id for one in page][:2] == ["x19001", "x19002"]
    assert "Index Scan using ledger_failed" in plan
    conditions = [line for line in plan.splitlines() if "Index Cond" in line]
    assert "ROW(code, bot_id) > ROW(" in conditions[0], plan
