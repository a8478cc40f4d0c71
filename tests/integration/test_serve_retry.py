"""Bots that went back are published anew over HTTP, and versions archived: by the command line's rules."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx2 as httpx
import pytest

from tests.fleet import Fleet
from tests.gate import Gate
from tests.integration.conftest import Run
from tests.publishing import Publishing
from tests.web import said, serving_operator
from worker.db.publication.rolling import Which
from worker.runtime import Runtime
from worker.steps import retry_publication
from worker.steps.plan import plan_run
from worker.steps.publication.rollback import roll_back
from worker.steps.retry_publication import Again

BACK = ("bot-00001", "bot-00002")
RETRY = "/publications/1/retry"


@pytest.fixture
def client(current: Runtime, tmp_path: Path) -> Iterator[httpx.Client]:
    """The client of ann, an operator; `v` is the token of a viewer."""
    with serving_operator(current, tmp_path) as client:
        yield client


@pytest.fixture
def gate(fleet: Fleet) -> Gate:
    """Three bots that publication 1 made live, two of which are back."""
    fleet.add_many(3)
    fleet.run(validate="sample:1")
    gate = Gate(Publishing(fleet))
    gate.start(text="all")
    gate.work()
    take_back(gate, *BACK)
    return gate


def take_back(gate: Gate, *bot_ids: str) -> None:
    roll_back(
        gate.fleet.current,
        Which(publication_id=1, bot_ids=bot_ids),
        digest=None,
        actor="me",
        reason=None,
        show=lambda _: None,
    )


def publications(gate: Gate) -> int:
    return len(gate.fleet.rows("SELECT FROM flowshift.publications"))


# -- retry of a publication ------------------------------------------------------------------------


def test_a_dry_run_counts_what_the_command_would_ask_for_and_records_nothing(
    gate: Gate, client: httpx.Client, flowshift: Run
) -> None:
    planned = client.post(RETRY, json={"dry_run": True})
    one = client.post(RETRY, json={"dry_run": True, "bot_ids": [BACK[0]]})

    plan = {"publication_id": 1, "bots": 2, "states": {"rolled_back": 2}}
    assert (planned.status_code, planned.json()) == (200, plan)
    assert one.json()["bots"] == 1
    assert flowshift("retry", "--publication", "1")[1] == "publication 1: 2 rolled back\n"
    assert publications(gate) == 1


def test_it_begins_only_with_the_number_of_bots_that_go_out_again(
    gate: Gate, client: httpx.Client
) -> None:
    for body in ({}, {"confirm_bots": 3}):
        refused = client.post(RETRY, json=body)
        assert said(refused) == (422, "not_possible")
        assert "confirm_bots: 2" in refused.json()["detail"]
    nothing = client.post(RETRY, json={"code": "v1_changed", "confirm_bots": 2})
    waves = client.post(RETRY, json={"waves": "2, all", "confirm_bots": 2})
    unknown = client.post(RETRY, json={"confirm": 2})

    assert said(nothing) == said(waves) == (422, "not_possible")
    assert "there is nothing to retry" in nothing.json()["detail"]
    assert said(unknown) == (400, "invalid_request")
    assert said(client.post("/publications/9/retry", json={"confirm_bots": 2})) == (
        404,
        "not_found",
    )
    assert publications(gate) == 1


def test_one_key_makes_one_publication_that_goes_out_by_the_name_of_who_asks(
    gate: Gate, client: httpx.Client
) -> None:
    asked = {"confirm_bots": 2, "waves": "1, all", "without_backup": True}
    key = {"Idempotency-Key": "again"}
    made = client.post(RETRY, json=asked, headers=key)
    run_id = made.json()["run_id"]
    plan_run(gate.fleet.engine, run_id, actor="test")
    gate.work(run_id)
    gate.tick()
    late = client.post(RETRY, json=asked, headers=key)  # nothing of 1 is left to retry
    taken = client.post(RETRY, json={**asked, "bot_ids": ["bot-00001"]}, headers=key)
    other = client.post(RETRY, json=asked, headers={"Idempotency-Key": "other"})
    gate.work()

    assert made.status_code == 201
    assert made.headers["location"] == "/api/v1/publications/2"
    assert made.json() == {"publication_id": 2, "run_id": run_id}
    assert late.json() == made.json()
    assert said(other) == (422, "not_possible")
    assert said(taken) == (409, "conflict")
    found = client.get("/publications/2").json()
    assert (found["retry_of"], found["requested_by"]) == (1, "ann")
    assert [wave["bot_count"] for wave in found["waves"]] == [1, 1]
    assert len(gate.live() & set(BACK)) == 1
    [entry] = gate.fleet.rows(
        "SELECT actor FROM flowshift.audit WHERE action = 'publication.created' AND actor = 'ann'"
    )
    assert entry.actor == "ann"


def test_the_json_of_the_command_is_that_of_http(
    gate: Gate, client: httpx.Client, flowshift: Run
) -> None:
    typed = flowshift("retry", "--publication", "1", "--yes", "--detach", "--json")
    again = client.post(RETRY, json={"confirm_bots": 2})

    assert set(json.loads(typed[1])) == {"publication_id", "run_id"}
    assert said(again) == (409, "conflict")
    assert "takes some" in again.json()["detail"]


def test_bots_that_go_back_after_they_were_counted_are_not_taken_along(
    gate: Gate, client: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the count that is confirmed and the transaction a third bot is rolled back."""
    look = retry_publication.look

    def then_another(current: Runtime, again: Again) -> Mapping[str, int]:
        counted = look(current, again)
        take_back(gate, "bot-00000")
        return counted

    monkeypatch.setattr(retry_publication, "look", then_another)
    answer = client.post(RETRY, json={"confirm_bots": 2})

    assert said(answer) == (412, "changed")
    assert "3 bots are to be published anew by now, not 2" in answer.json()["detail"]
    assert publications(gate) == 1


def test_a_key_of_another_request_is_not_taken_for_this_one(
    gate: Gate, client: httpx.Client
) -> None:
    body = {"bot_ids": ["bot-00001"], "confirm_bots": 1, "without_backup": True}
    key = {"Idempotency-Key": "k"}
    first = client.post("/publications", json=body, headers=key)
    refused = client.post(RETRY, json={"confirm_bots": 2}, headers=key)

    assert first.status_code == 201, first.text
    assert said(refused) == (409, "conflict")
    assert "belongs to publication 2" in refused.json()["detail"]


# -- archive ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("act", ["archive", "restore"])
def test_the_draft_is_found_by_its_name_as_by_its_id(
    gate: Gate, client: httpx.Client, act: str
) -> None:
    listed = client.get("/bots/bot-00001/workflow-versions").json()
    [draft_id] = [one["id"] for one in listed if one["status"] == "draft"]
    by_name, by_id = (
        client.post(f"/bots/bot-00001/workflow-versions/{which}/{act}")
        for which in ("draft", draft_id)
    )

    assert said(by_name) == (409, "conflict")
    assert "is its draft" in by_name.json()["detail"]
    assert by_name.json() == by_id.json()
    missing = client.post(f"/bots/nobody/workflow-versions/draft/{act}")
    assert "there is no bot" in missing.json()["detail"]


def of(bot_id: str, version: str) -> str:
    return f"/bots/{bot_id}/workflow-versions/{version}/archive"


def test_a_version_that_answers_nowhere_is_archived_by_the_name_of_who_asks(
    gate: Gate, client: httpx.Client, flowshift: Run
) -> None:
    gate.fleet.execute(
        "INSERT INTO bot_workflow_versions (id, bot_id, version, status, graph, published_at)"
        " VALUES (gen_random_uuid(), 'bot-00001', 'v0.9', 'published', '{}', '2020-01-01')"
    )
    listed: list[Any] = client.get("/bots/bot-00001/workflow-versions").json()
    [old] = [one["id"] for one in listed if one["version"] == "v0.9"]
    done = client.post(of("bot-00001", old), json={"reason": "two were published"})
    again = client.post(of("bot-00001", "v0.9"))
    typed = flowshift("archive", "bot-00001", "v0.9", "--json")

    archived = {"bot_id": "bot-00001", "version": "v0.9", "changed": True, "superseded_in": []}
    assert (done.status_code, done.json()) == (200, archived)
    assert again.json() == json.loads(typed[1]) == {**archived, "changed": False}
    status = client.get("/bots/bot-00001/workflow-versions/v0.9").json()["status"]
    assert status == "archived"
    [entry] = gate.fleet.rows(
        "SELECT actor, reason FROM flowshift.audit WHERE action = 'version.archived'"
    )
    assert tuple(entry) == ("ann", "two were published")


def test_what_answers_or_is_needed_is_not_archived(gate: Gate, client: httpx.Client) -> None:
    before = gate.fleet.rows("SELECT version, status FROM bot_workflow_versions ORDER BY 1, 2")
    draft = client.get("/bots/bot-00000/workflow-versions/draft").json()["id"]
    live = client.post(of("bot-00000", "v1.0"))
    only = client.post(of("bot-00001", "v1.0"))

    assert said(live) == said(only) == (409, "conflict")
    assert said(client.post(of("bot-00000", draft))) == (409, "conflict")
    assert "users would get no answer" in live.json()["detail"]
    assert said(client.post(of("bot-00000", "v9.9"))) == (404, "not_found")
    assert said(client.post(of("missing", "v1.0"))) == (404, "not_found")
    after = gate.fleet.rows("SELECT version, status FROM bot_workflow_versions ORDER BY 1, 2")
    assert after == before


def test_a_viewer_and_a_page_of_another_site_do_neither(gate: Gate, client: httpx.Client) -> None:
    foreign = {"Origin": "http://evil.example"}
    viewer = {"Authorization": "Bearer v"}
    for headers in (viewer, foreign):
        assert client.post(RETRY, json={"confirm_bots": 2}, headers=headers).status_code == 403
        assert client.post(of("bot-00001", "v1.0"), headers=headers).status_code == 403
    assert publications(gate) == 1
