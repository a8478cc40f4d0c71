"""Pages of large publications and runs: what is dear to count is kept for a while, and says so."""

from __future__ import annotations

from collections.abc import Iterator

import httpx2 as httpx
import pytest

from tests.fleet import Fleet
from tests.html import Page
from tests.way_back import go_out
from tests.web import serving
from worker.runtime import Runtime
from worker.steps.publication import control
from worker.web.pages import publications, runs

BOTS = 10
SLOWER = """
    UPDATE flowshift.batches SET overhead =
        '{"counts": {"400000": 8}, "max_us": 412345, "over_limit": 0, "slow": []}'
"""


@pytest.fixture
def client(current: Runtime) -> Iterator[httpx.Client]:
    with serving(current) as client:
        client.headers.update({"Accept": "text/html"})
        yield client


def text(client: httpx.Client, path: str) -> str:
    answer = client.get(path)
    assert answer.status_code == 200, answer.text
    return Page(answer.text).text


def take_back(fleet: Fleet, bots: int) -> None:
    """Let bots be live no more, as their rows say, in the middle of a rollback: its state stays."""
    fleet.execute(
        "UPDATE flowshift.publication_bots SET state = 'rolled_back' WHERE bot_id IN"
        " (SELECT bot_id FROM flowshift.publication_bots WHERE state = 'published' LIMIT :bots)",
        bots=bots,
    )


def test_what_is_live_of_a_publication_of_some_bots_is_counted_at_each_look(
    fleet: Fleet, client: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publications, "EXACT_BOTS", BOTS)
    go_out(fleet, BOTS, "all")
    assert "10 live" in text(client, "/publications/1")
    take_back(fleet, 3)
    assert "7 live" in text(client, "/publications/1")
    assert ", counted " not in text(client, "/publications/1")


def test_what_is_live_of_a_large_one_is_counted_once_a_while_and_when_its_state_changes(
    fleet: Fleet, client: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publications, "EXACT_BOTS", BOTS - 1)
    go_out(fleet, BOTS, "all")
    assert "10 live, counted " in text(client, "/publications/1")
    take_back(fleet, 3)
    assert "10 live, counted " in text(client, "/publications/1")
    control.hold(fleet.current, 1, actor="test", reason=None)
    assert "7 live, counted " in text(client, "/publications/1")
    monkeypatch.setattr(publications, "LIVE_S", 0.0)
    take_back(fleet, 2)
    assert "5 live, counted " in text(client, "/publications/1")


def test_a_page_with_a_kept_count_is_as_it_was(
    fleet: Fleet, client: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publications, "EXACT_BOTS", BOTS - 1)
    go_out(fleet, BOTS, "all")
    etag = client.get("/publications/1").headers["etag"]
    assert client.get("/publications/1", headers={"If-None-Match": etag}).status_code == 304


def test_the_overheads_of_a_run_of_some_batches_are_added_up_at_each_look(
    fleet: Fleet, client: httpx.Client
) -> None:
    fleet.add_many(4)
    fleet.run()
    assert "at most 412.3 ms" not in text(client, "/runs/1")
    fleet.execute(SLOWER)
    assert "at most 412.3 ms" in text(client, "/runs/1")


def test_the_overheads_of_a_large_run_are_added_up_once_a_while_and_when_its_state_changes(
    fleet: Fleet, client: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runs, "EXACT_BATCHES", 0)
    fleet.add_many(4)
    fleet.planned(batch_size=2)
    fleet.convert(1, 1)
    assert ", as of " in text(client, "/runs/1")
    fleet.execute(SLOWER)
    assert "at most 412.3 ms" not in text(client, "/runs/1")
    fleet.execute("UPDATE flowshift.runs SET state = 'paused', state_reason = 'x'")
    assert "at most 412.3 ms, as of " in text(client, "/runs/1")


def test_the_overheads_of_a_large_run_that_is_over_are_added_up_once(
    fleet: Fleet, client: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runs, "EXACT_BATCHES", 0)
    monkeypatch.setattr(runs, "OVERHEAD_S", 0.0)
    fleet.add_many(4)
    fleet.run()
    before = text(client, "/runs/1")
    assert "at most " in before
    assert ", as of " not in before
    fleet.execute(SLOWER)
    assert (
        text(client, "/runs/1").partition("at most ")[2][:20]
        == before.partition("at most ")[2][:20]
    )
    fleet.execute("UPDATE flowshift.runs SET version = version + 1")
    assert "at most 412.3 ms" in text(client, "/runs/1")
