"""The endpoints that the platform's guide uses with curl: the same paths, shapes and meaning."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from typing import Any

import httpx2 as httpx
import pytest

from tests.fleet import Fleet, a_workflow
from tests.web import serving
from worker.runtime import Runtime

OF_A_VERSION = [
    *("id", "bot_id", "version", "status", "created_at", "updated_at", "published_at"),
]
OF_AN_EXECUTION = [
    *("id", "bot_id", "session_id", "status", "error_message", "elapsed_time"),
    *("total_tokens", "total_steps", "created_at"),
]


@pytest.fixture
def client(current: Runtime) -> Iterator[httpx.Client]:
    with serving(current) as client:
        client.base_url = client.base_url.join("/api/v1")
        yield client


@pytest.fixture
def fleet(fleet: Fleet) -> Fleet:
    """One bot with a draft that agreed with V1, one without, one that cannot be converted."""
    fleet.add("bot-1", a_workflow())
    fleet.add("bot-3", a_workflow(temperature=9))
    fleet.run(validate="all")
    fleet.add("bot-2", a_workflow())
    return fleet


def chat(client: httpx.Client, **given: Any) -> httpx.Response:
    return client.post("/chat/test", json={"bot_id": "bot-1", "message": "hi", **given})


def test_a_message_is_answered_as_v1_does_and_nothing_is_written(
    fleet: Fleet, client: httpx.Client
) -> None:
    before = fleet.rows("SELECT count(*) FROM workflow_execution_runs")
    said = chat(client).json()

    assert said["answer"] == "gpt-4: [doc-1#0] hi\n\n[doc-1#1] hi hi"
    assert (said["status"], said["parity"], said["execution_id"]) == ("succeeded", True, None)
    nodes = [(one["node_id"], one["status"], one["elapsed_us"] >= 0) for one in said["nodes"]]
    assert nodes == [(name, "succeeded", True) for name in ("start", "k", "llm", "end")]
    assert fleet.rows("SELECT count(*) FROM workflow_execution_runs") == before


def test_with_a_session_the_execution_is_recorded_and_found_again(
    fleet: Fleet, client: httpx.Client
) -> None:
    said = chat(client, session_id="세션-1", message="환불?").json()
    listed = client.get("/bots/bot-1/workflow-executions", params={"limit": 1}).json()
    one = client.get(f"/bots/bot-1/workflow-executions/{said['execution_id']}").json()

    assert {**listed, "items": 1} == {
        "items": 1,
        "total": 7,
        "total_is_at_least": False,
        "limit": 1,
        "offset": 0,
    }
    assert list(listed["items"][0]) == OF_AN_EXECUTION
    assert listed["items"][0]["id"] == said["execution_id"]
    assert listed["items"][0]["session_id"] == "세션-1"
    assert one["inputs"] == {"user_message": "환불?"}
    assert one["nodes"][0]["outputs"] == {"query": "환불?", "session_id": "세션-1"}
    assert one["outputs"] == {"final_response": said["answer"]}
    assert [node["node_id"] for node in one["nodes"]] == ["start", "k", "llm", "end"]
    assert client.get(f"/bots/bot-2/workflow-executions/{one['id']}").status_code == 404


def test_executions_are_paged(fleet: Fleet, client: httpx.Client) -> None:
    whole = client.get("/bots/bot-1/workflow-executions?limit=10").json()
    rest = client.get("/bots/bot-1/workflow-executions?limit=10&offset=2").json()

    assert len(whole["items"]) == whole["total"] == 6
    assert rest["items"] == whole["items"][2:]
    assert client.get("/bots/bot-1/workflow-executions?limit=101").status_code == 400


def test_a_bot_without_a_draft_is_converted_for_the_message_and_not_recorded(
    fleet: Fleet, client: httpx.Client
) -> None:
    said = chat(client, bot_id="bot-2", session_id="s").json()
    failed = chat(client, bot_id="bot-3").json()

    assert (said["draft"], said["status"], said["execution_id"]) == ("converted", "succeeded", None)
    assert (failed["status"], failed["error"].split(":")[0]) == ("failed", "invalid_config")


def test_versions_have_the_platforms_shape_and_one_has_its_graph(
    fleet: Fleet, client: httpx.Client
) -> None:
    fleet.execute(
        "UPDATE bot_workflow_versions SET environment_variables = '{\"A\": 1.50}'"
        " WHERE bot_id = 'bot-1'"
    )
    (listed,) = client.get("/bots/bot-1/workflow-versions").json()
    by_id = client.get(f"/bots/bot-1/workflow-versions/{listed['id']}")
    by_name = client.get("/bots/bot-1/workflow-versions/draft")

    assert list(listed) == OF_A_VERSION
    assert (listed["version"], listed["status"], listed["bot_id"]) == ("draft", "draft", "bot-1")
    assert by_id.json() == by_name.json()
    assert by_id.json()["graph"] == fleet.drafts()["bot-1"]
    assert b'"environment_variables":{"A": 1.50}' in by_id.content, "numbers keep their digits"
    assert by_id.headers["etag"] == by_name.headers["etag"]
    for path in (
        "/bots/bot-1/workflow-versions/v9",
        f"/bots/bot-1/workflow-versions/{uuid.uuid4()}",
    ):
        assert client.get(path).json()["code"] == "not_found"
    assert "did you mean bot-1" in client.get("/bots/bot/workflow-versions").json()["detail"]


def put(client: httpx.Client, graph: Any, **headers: str) -> httpx.Response:
    return client.post(
        "/bots/bot-1/workflow-versions/draft", json={"graph": graph}, headers=headers
    )


def test_a_corrected_graph_is_written_once_for_the_draft_that_the_client_has_seen(
    fleet: Fleet, client: httpx.Client
) -> None:
    seen = client.get("/bots/bot-1/workflow-versions/draft")
    graph = seen.json()["graph"]
    graph["nodes"][2]["data"]["temperature"] = 0.1
    tag = {"If-Match": seen.headers["etag"]}

    written = put(client, graph, **tag)
    again = put(client, graph, **tag)

    assert (written.status_code, written.json()["changed"]) == (200, True)
    assert written.headers["etag"] != seen.headers["etag"]
    assert fleet.drafts()["bot-1"] == graph
    assert (again.status_code, again.json()["code"]) == (412, "changed")
    (line,) = fleet.rows("SELECT actor, action FROM flowshift.audit WHERE action = 'draft.written'")
    assert line.actor.startswith("http@")


def test_without_an_etag_the_draft_of_now_is_replaced_as_on_the_platform(
    fleet: Fleet, client: httpx.Client
) -> None:
    graph = fleet.drafts()["bot-1"]
    graph["nodes"][2]["data"]["temperature"] = 0.2
    bare = client.post("/bots/bot-1/workflow-versions/draft", content=json.dumps(graph))
    same = put(client, graph)
    new = client.post("/bots/bot-2/workflow-versions/draft", json={"graph": graph})
    unmatched = client.post(
        "/bots/bot-3/workflow-versions/draft", json={"graph": graph}, headers={"If-Match": "*"}
    )

    assert [bare.json()["changed"], same.json()["changed"]] == [True, False]
    assert (new.status_code, unmatched.status_code) == (200, 412)
    assert fleet.drafts() == {"bot-1": graph, "bot-2": graph}


def test_a_graph_that_fails_the_checklist_is_refused_with_codes_and_places(
    fleet: Fleet, client: httpx.Client
) -> None:
    graph = fleet.drafts()["bot-1"]
    graph["edges"][0]["target_port"] = "nowhere"
    answer = put(client, graph)
    broken = client.post("/bots/bot-1/workflow-versions/draft", content=b"{")

    detail = answer.json()["detail"]
    assert answer.status_code == 400
    assert detail["message"].startswith("the graph does not pass the checklist")
    assert detail["warnings"] == []
    assert len(detail["errors"]) == len(detail["issues"]) >= 1
    assert {"code", "path", "message"} == set(detail["issues"][0])
    assert broken.json()["detail"]["issues"][0]["code"] == "not_a_workflow"
    assert fleet.drafts()["bot-1"] != graph


def test_variables_are_not_dropped_in_silence(fleet: Fleet, client: httpx.Client) -> None:
    graph = fleet.drafts()["bot-1"]
    body = {"graph": graph, "environment_variables": {}, "conversation_variables": {"a": 1}}
    answer = client.post("/bots/bot-1/workflow-versions/draft", json=body)

    assert (answer.status_code, answer.json()["code"]) == (422, "not_possible")
    assert "conversation_variables" in answer.json()["detail"]


def test_a_proven_draft_begins_to_be_published_once(fleet: Fleet, client: httpx.Client) -> None:
    (listed,) = client.get("/bots/bot-1/workflow-versions").json()
    path = f"/bots/bot-1/workflow-versions/{listed['id']}/publish"
    key = {"Idempotency-Key": "k"}
    first, again = client.post(path, headers=key), client.post(path, headers=key)

    assert (first.status_code, again.status_code) == (202, 202)
    assert first.json()["publication_id"] == again.json()["publication_id"] == 1
    assert first.headers["location"] == "/api/v1/publications/1"
    (made,) = fleet.rows("SELECT bot_count, state FROM flowshift.publications")
    assert tuple(made) == (1, "publishing")


def test_what_would_not_be_published_is_refused_at_once_with_its_code(
    fleet: Fleet, client: httpx.Client
) -> None:
    graph = fleet.drafts()["bot-1"]
    graph["nodes"][2]["data"]["temperature"] = 0.3
    put(client, graph)
    fleet.add_version("bot-1", "v1.0", "published")
    edited = client.post("/bots/bot-1/workflow-versions/draft/publish")
    published = client.post("/bots/bot-1/workflow-versions/v1.0/publish")

    assert (edited.status_code, edited.json()["code"]) == (422, "draft_edited")
    assert (published.status_code, published.json()["code"]) == (409, "conflict")
    assert not fleet.rows("SELECT FROM flowshift.publications")


def test_values_that_no_column_holds_are_refused(client: httpx.Client) -> None:
    for path in ("/bots/a%00b/workflow-versions", f"/bots/{'x' * 300}/workflow-versions"):
        answer = client.get(path)
        assert (answer.status_code, answer.json()["code"]) == (400, "invalid_request")
    assert chat(client, message="a\x00b").status_code == 400
    assert chat(client, message="").json()["errors"] == ["message: Expected `str` of length >= 1"]
