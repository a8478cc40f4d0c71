"""How many bots of a wave are live and pending: the same number wherever a person reads it."""

from __future__ import annotations

import json

import pytest

from tests.fleet import Fleet
from tests.gate import Gate
from tests.html import Page
from tests.integration.conftest import Run
from tests.publishing import Publishing
from tests.web import serving
from worker.db.publication import members


@pytest.fixture
def gate(fleet: Fleet) -> Gate:
    """Six bots with proven drafts; three are out, of which the first is back on V1."""
    fleet.add_many(6)
    fleet.run(validate="sample:1")
    one = Gate(Publishing(fleet))
    one.start("3, 2, all")
    one.work()
    return one


def rows(gate: Gate) -> list[tuple[int, int]]:
    """Live and pending bots of each wave, by their rows."""
    with gate.fleet.engine.connect() as connection:
        found = members.members(connection, 1)
    return [
        (
            sum(one.wave == wave and one.state in ("published", "confirmed") for one in found),
            sum(one.wave == wave and one.state == "pending" for one in found),
        )
        for wave in (1, 2, 3)
    ]


def test_the_command_the_api_and_the_page_say_what_the_rows_say(gate: Gate, flowshift: Run) -> None:
    code, _, err = flowshift("rollback", "--bot-id", gate.bots(1)[0], "--yes")
    assert code == 0, err
    assert rows(gate) == [(2, 0), (0, 2), (0, 1)]

    said = json.loads(flowshift("publication", "1", "--json")[1])
    with serving(gate.fleet.current) as client:
        answered = client.get("/api/v1/publications/1").json()
        page = Page(client.get("/publications/1", headers={"Accept": "text/html"}).text).text
    for found in (said, answered):
        assert [(one["live"], one["pending"]) for one in found["waves"]] == rows(gate)
    assert "6 bots 2 live" in " ".join(page.split())
    assert "live200" in page
    assert "pending021" in page
    table = flowshift("publication", "1")[1]
    assert [line.split()[2:5] for line in table.splitlines() if "(" in line][:1] == [
        ["watching", "3", "2"]
    ]
