"""With the rights of a worker: what `flowshift serve` can do, and what it says of what it cannot."""

from __future__ import annotations

from collections.abc import Iterator

import httpx2 as httpx
import msgspec
import pytest

from tests.fleet import Fleet, a_workflow
from tests.gate import Gate
from tests.publishing import Publishing
from tests.roles import Role
from tests.web import serving
from worker.runtime import Runtime
from worker.servers.connect import Servers


@pytest.fixture
def client(current: Runtime, role: Role) -> Iterator[httpx.Client]:
    url = role.url(current.servers.database_url)
    values = msgspec.structs.replace(current.settings, database_url=url, web_rate=0)
    mine = Runtime(values, Servers(url, current.servers.redis_url))
    with serving(mine) as client:
        client.base_url = client.base_url.join("/api/v1")
        yield client
    mine.close()


def test_a_workers_rights_are_enough(fleet: Fleet, client: httpx.Client) -> None:
    fleet.add("bot-1", a_workflow())
    fleet.add("bot-2", a_workflow())
    fleet.run(validate="all")
    graph = fleet.drafts()["bot-1"]
    graph["nodes"][2]["data"]["temperature"] = 0.2
    chat = {"bot_id": "bot-1", "message": "hi", "session_id": "s"}
    answers = [
        client.get("/status"),
        client.get("/bots/bot-1/workflow-versions/draft"),
        client.post("/chat/test", json=chat),
        client.post("/bots/bot-1/workflow-versions/draft", json={"graph": graph}),
        client.post("/bots/bot-2/workflow-versions/draft/publish"),
        client.get("/bots/bot-1/workflow-executions"),
        client.post("/publications/1/stop"),
        client.post("/runs", json={"bot_ids": ["bot-1"], "allow_overlap": True}),
        client.get("/audit"),
    ]

    assert [one.status_code for one in answers] == [*[200] * 4, 202, *[200] * 2, 201, 200]


def test_a_right_that_is_missing_is_named(fleet: Fleet, client: httpx.Client, role: Role) -> None:
    fleet.add("bot-1", a_workflow())
    fleet.execute(f"REVOKE SELECT ON flowshift.audit FROM {role.name}")

    answer = client.get("/audit")

    assert (answer.status_code, answer.json()["code"]) == (500, "not_configured")
    assert "flowshift db check" in answer.json()["detail"]


def test_a_workers_rights_are_enough_to_have_bots_rolled_back_by_those_that_may(
    fleet: Fleet, client: httpx.Client
) -> None:
    fleet.add_many(2)
    fleet.run(validate="sample:1")
    gate = Gate(Publishing(fleet))
    gate.start(text="all")
    gate.work()

    begun = client.post("/rollbacks", json={"all": True, "confirm_bots": 2})

    assert begun.status_code == 202
    gate.work(begun.json()["runs"][0])
    assert gate.live() == set()
