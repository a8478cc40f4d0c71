"""A request id stands for one request: the same again finds what it made, another is refused."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2 as httpx
import pytest

from tests.fleet import Fleet, a_workflow
from tests.web import said, serving_operator
from worker.runtime import Runtime

KEY = {"Idempotency-Key": "k"}
RUN = ("/runs", {"limit": 1, "dry_run": True})
PUBLICATION = ("/publications", {"bot_ids": ["bot-1"], "waves": "1, all", "confirm_bots": 1})
ROLLBACK = ("/rollbacks", {"bot_ids": ["bot-2"], "confirm_bots": 1})
Asked = tuple[str, dict[str, Any]]


@pytest.fixture
def client(current: Runtime, tmp_path: Path) -> Iterator[httpx.Client]:
    with serving_operator(current, tmp_path) as client:
        yield client


@pytest.fixture(autouse=True)
def proven(fleet: Fleet) -> Fleet:
    """Three proven bots."""
    for number in range(1, 4):
        fleet.add(f"bot-{number}", a_workflow())
    fleet.run(validate="all")
    return fleet


def ask(client: httpx.Client, asked: Asked, **changed: Any) -> httpx.Response:
    path, body = asked
    return client.post(path, json={**body, **changed}, headers=KEY)


def made(fleet: Fleet) -> list[int]:
    return [
        fleet.rows(f"SELECT count(*) FROM flowshift.{table}")[0][0]
        for table in ("runs", "publications")
    ]


def test_another_run_with_the_same_id_is_refused_and_the_same_one_is_found(
    fleet: Fleet, client: httpx.Client
) -> None:
    first = ask(client, RUN)
    before = made(fleet)
    others = [
        ask(client, RUN, limit=2),
        ask(client, RUN, dry_run=False),
        ask(client, ("/runs", {"kind": "validate", "allow_overlap": True})),
    ]

    assert first.json()["run_id"] == ask(client, RUN).json()["run_id"] == 2
    assert [said(one) for one in others] == [(409, "conflict")] * 3
    assert others[0].json()["detail"] == (
        "the request id 'k' belongs to run 2, which another request made: nothing was started; use another"
    )
    assert made(fleet) == before


def test_the_key_of_one_bots_publication_publishes_no_other_bot(
    fleet: Fleet, client: httpx.Client
) -> None:
    path = "/bots/bot-{}/workflow-versions/draft/publish"
    first = client.post(path.format(1), headers=KEY)
    again = client.post(path.format(1), headers=KEY)
    other = client.post(path.format(2), headers=KEY)
    listed = ask(client, PUBLICATION, bot_ids=["bot-2"])

    assert first.json()["publication_id"] == again.json()["publication_id"] == 1
    assert [said(one) for one in (other, listed)] == [(409, "conflict")] * 2
    assert "belongs to publication 1" in other.json()["detail"]
    assert made(fleet)[1] == 1


def test_a_publication_is_found_by_its_request_even_if_its_bots_can_no_longer_be_published(
    fleet: Fleet, client: httpx.Client
) -> None:
    first = ask(client, PUBLICATION)
    fleet.execute("DELETE FROM workflow_execution_runs")
    fleet.execute("DELETE FROM bots WHERE bot_id = 'bot-1'")
    again = ask(client, PUBLICATION)

    assert again.json()["publication_id"] == first.json()["publication_id"] == 1
    assert again.headers["location"] == "/api/v1/publications/1"
    assert said(ask(client, PUBLICATION, gate="observe")) == (409, "conflict")
    assert said(ask(client, PUBLICATION, waves="all")) == (409, "conflict")


@pytest.mark.parametrize(
    ("first", "then", "belongs"),
    [
        (RUN, PUBLICATION, "belongs to run 2, and this asks for a publication"),
        (RUN, ROLLBACK, "belongs to run 2, and this asks for a rollback"),
        (PUBLICATION, RUN, "belongs to publication 1, and this asks for a run"),
        (PUBLICATION, ROLLBACK, "belongs to publication 1, and this asks for a rollback"),
    ],
)
def test_the_id_of_one_kind_of_request_is_none_of_another(
    fleet: Fleet, client: httpx.Client, first: Asked, then: Asked, belongs: str
) -> None:
    assert ask(client, first).is_success
    before = made(fleet)
    refused = ask(client, then)

    assert said(refused) == (409, "conflict")
    assert belongs in refused.json()["detail"]
    assert made(fleet) == before


def test_a_run_of_a_version_that_kept_no_digest_is_found_by_its_id(
    fleet: Fleet, client: httpx.Client
) -> None:
    ask(client, RUN)
    fleet.execute("UPDATE flowshift.runs SET options = options - 'request_digest'")

    assert ask(client, RUN, limit=2).json()["run_id"] == 2
