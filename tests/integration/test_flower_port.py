"""Where Flower is, and what is said where its port is taken."""

from __future__ import annotations

import json
import re
import socket
import uuid
from collections.abc import Iterator

import msgspec
import pytest

from tests.fleet import Fleet
from tests.integration.conftest import Run
from tests.web import serving
from worker.db import heartbeats
from worker.db.heartbeats import Identity, Sign
from worker.runtime import Runtime


@pytest.fixture
def taken() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@pytest.mark.parametrize("command", ["up", "flower"])
def test_a_port_that_is_taken_is_said_in_one_sentence(
    flowshift: Run, monkeypatch: pytest.MonkeyPatch, taken: int, command: str
) -> None:
    monkeypatch.setenv("FLOWSHIFT_FLOWER_PORT", str(taken))
    sentence = (
        f"FLOWSHIFT_FLOWER_PORT: Flower cannot listen on 127.0.0.1:{taken} (Address already"
        " in use): set another port, or stop the process that listens there"
    )

    code, out, err = flowshift(command)
    assert (code, out) == (3, "")
    assert json.loads(err.splitlines()[-1])["error"] == sentence

    monkeypatch.setenv("FLOWSHIFT_LOG_FORMAT", "console")
    code, out, err = flowshift(command)
    assert (code, out) == (3, "")
    assert err.splitlines()[-1] == f"flowshift: {sentence}"


def test_a_run_that_is_started_names_its_page_where_flower_works(
    fleet: Fleet, flowshift: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    fleet.add_many(2)
    monkeypatch.setenv("FLOWSHIFT_FLOWER_PORT", "5599")
    page = "run {} in Flower: http://127.0.0.1:5599/task/run-{}"

    _, _, before = flowshift("migrate", "--detach")
    with fleet.engine.begin() as connection:
        me = Identity(uuid.uuid4(), "flower", "flower@x", socket.gethostname(), 7, "0.1.0")
        heartbeats.begin(connection, me)
        heartbeats.beat(connection, me, Sign(0.0))
    _, _, after = flowshift("migrate", "--detach", "--allow-overlap")

    assert page.format(1, 1) not in before
    assert page.format(2, 2) in after


def linked(current: Runtime, **chosen: object) -> list[str]:
    """The links to Flower on the first page and on a run's page."""
    current.settings = msgspec.structs.replace(current.settings, **chosen)
    with serving(current) as client:
        pages = [client.get(path).text for path in ("/", "/runs/1")]
    return re.findall(r'href="([^"]*/(?:tasks|task/[^"]*))"', "".join(pages))


@pytest.mark.parametrize(
    ("chosen", "base"),
    [
        ({"flower_port": 5601}, "http://127.0.0.1:5601"),
        ({"flower_port": 5601, "flower_url": "https://flower.example/"}, "https://flower.example"),
        ({"flower_port": 0, "flower_url": "https://a.example/flower"}, "https://a.example/flower"),
    ],
)
def test_pages_link_flower_where_people_reach_it(
    fleet: Fleet, current: Runtime, chosen: dict[str, object], base: str
) -> None:
    fleet.add_many(1)
    fleet.run()

    assert linked(current, **chosen) == [f"{base}/tasks", f"{base}/tasks", f"{base}/task/run-1"]


def test_pages_link_no_flower_whose_port_is_not_known(fleet: Fleet, current: Runtime) -> None:
    fleet.add_many(1)
    fleet.run()

    assert linked(current, flower_port=0) == []
