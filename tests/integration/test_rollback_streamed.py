"""The preview of a large rollback: how many bots, and each of them on a page that comes as it is made."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import httpx2 as httpx
import pytest

from tests.fleet import Fleet, a_workflow
from tests.html import Page
from tests.live import eventually
from tests.way_back import go_out
from tests.web import serving
from worker.db.publication.rolling import Which
from worker.runtime import Runtime
from worker.steps.publication import rollback as step
from worker.web.pages import looking, publications

BOTS = 6
AT = "/publications/1/rollback"
WHOLE = f"{AT}?whole=true"
BUSY = "Another look at every bot of a rollback is at work in this process"


class Steps:
    """Lets a real look go on from bot to bot, as a test says."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.may = threading.Semaphore(0)
        self.begun = threading.Event()
        self.stopped = threading.Event()
        self.over = threading.Event()
        self.looked = 0
        monkeypatch.setattr(step, "LOOKED_EACH", 1)
        monkeypatch.setattr(looking, "TELL_S", 0.01)
        monkeypatch.setattr(looking, "look", self.look)
        stop = looking.Looking.stop

        def stopping(one: looking.Looking) -> None:
            stop(one)
            self.stopped.set()

        monkeypatch.setattr(looking.Looking, "stop", stopping)

    def look(self, current: Runtime, which: Which, *, at: Callable[[int], None]) -> step.Look:
        def slowly(bots: int) -> None:
            at(bots)
            self.looked += 1
            self.begun.set()
            assert self.may.acquire(timeout=30)

        try:
            return step.look(current, which, at=slowly)
        finally:
            self.over.set()

    def go(self, bots: int) -> None:
        for _ in range(bots):
            self.may.release()


@pytest.fixture
def client(
    fleet: Fleet, current: Runtime, monkeypatch: pytest.MonkeyPatch
) -> Iterator[httpx.Client]:
    """Six bots are live, in two waves of three; so many are a large rollback."""
    monkeypatch.setattr(publications, "LOOKED_AT_ONCE", BOTS - 1)
    go_out(fleet, BOTS, "40 %, all")
    with serving(current) as client:
        client.headers.update({"Accept": "text/html"})
        yield client


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> Steps:
    return Steps(monkeypatch)


def page(client: httpx.Client, path: str, status: int = 200) -> Page:
    answer = client.get(path)
    assert answer.status_code == status, answer.text
    found = Page(answer.text)
    assert found.active == []
    return found


def test_a_large_rollback_says_how_many_bots_each_wave_has_live_and_reads_none_of_them(
    client: httpx.Client, fleet: Fleet
) -> None:
    with fleet.engine.begin() as other:
        other.exec_driver_sql("LOCK TABLE bots, bot_workflow_versions IN ACCESS EXCLUSIVE MODE")
        found = page(client, AT)
    assert "6 bots are live by this publication now" in found.text
    assert "wave 2: 3 bots" in found.text
    assert "wave 1: 3 bots" in found.text
    assert found.links("whole=true") == [WHOLE]
    assert found.fields("plan") == []


def test_each_bot_is_looked_at_while_the_page_says_how_far_it_is(
    client: httpx.Client, steps: Steps
) -> None:
    with client.stream("GET", WHOLE) as answer:
        assert (answer.status_code, answer.headers["x-accel-buffering"]) == (200, "no")
        pieces = answer.iter_text()
        got = next(pieces)
        for bots, percent in ((0, 0), (1, 16), (1, 33), (2, 66)):
            steps.go(bots)
            while f"Looked at {percent} % of 6 bots" not in got:
                got += next(pieces)
            assert "V1 answers again" not in got
        steps.go(BOTS)
        got += "".join(pieces)
    found = Page(got)
    assert found.active == []
    assert "6 bots: V1 answers again" in found.text
    assert "It loses nothing." in found.text
    assert got.index("Looked at 6 bots.") < got.index("V1 answers again") < got.index("<footer>")


def test_the_plan_of_such_a_look_begins_the_rollback_unless_a_bot_has_changed(
    client: httpx.Client, fleet: Fleet
) -> None:
    seen = page(client, WHOLE)
    assert seen.fields("plan") == [step.look(fleet.current, Which()).preview.digest]
    form = {name: seen.fields(name)[0] for name in ("csrf_token", "plan", "wave")}
    fleet.change("bot-00001", a_workflow("another {question}"))
    assert client.post(AT, data={**form, "typed": "6"}).status_code == 412
    seen = page(client, WHOLE)
    assert "V1 goes live with an edit made since" in seen.text
    assert "It loses nothing." not in seen.text
    form["plan"] = seen.fields("plan")[0]
    assert client.post(AT, data={**form, "typed": "5"}).status_code == 422
    assert client.post(AT, data={**form, "typed": "6"}).status_code == 303


def test_there_is_one_such_look_at_a_time_and_others_are_told(
    client: httpx.Client, steps: Steps
) -> None:
    with client.stream("GET", WHOLE) as answer:
        steps.go(3)
        pieces = answer.iter_text()
        got = next(pieces)
        while "Looked at 50 %" not in got:
            got += next(pieces)
        other = page(client, WHOLE)
        assert f"{BUSY} (50 % is done)" in other.text
        assert "V1 answers again" not in other.text
        assert "6 bots are live" in page(client, AT).text
        steps.go(BOTS)
        assert "6 bots: V1 answers again" in got + "".join(pieces)
    steps.go(BOTS)
    assert "6 bots: V1 answers again" in page(client, WHOLE).text


def test_a_look_that_nobody_reads_any_more_ends_and_leaves_its_place(
    client: httpx.Client, steps: Steps, fleet: Fleet
) -> None:
    with client.stream("GET", WHOLE) as answer:
        pieces = answer.iter_text()
        assert "Each bot is looked at now" in next(pieces)
        assert steps.begun.wait(30)
    assert steps.stopped.wait(30)
    steps.go(1_000)
    assert steps.over.wait(30)
    assert steps.looked == 1
    eventually(lambda: BUSY not in page(client, WHOLE).text)
    held = fleet.rows("""
        SELECT count(*) FROM pg_stat_activity
        WHERE datname = current_database() AND state = 'idle in transaction'
    """)
    assert held[0][0] == 0


def test_whoever_asks_for_the_head_alone_takes_no_place_for_long(
    client: httpx.Client, steps: Steps
) -> None:
    assert client.head(WHOLE).status_code == 200
    steps.go(1_000)
    eventually(lambda: "6 bots: V1 answers again" in page(client, WHOLE).text)


def test_a_look_that_fails_says_why_on_its_page_and_leaves_its_place(
    client: httpx.Client, fleet: Fleet
) -> None:
    with fleet.engine.begin() as other:
        other.exec_driver_sql("LOCK TABLE bot_workflow_versions IN ACCESS EXCLUSIVE MODE")
        found = page(client, WHOLE)
    assert "The look ended: " in found.text
    assert found.fields("plan") == []
    assert "6 bots: V1 answers again" in page(client, WHOLE).text


def test_a_rollback_that_is_not_there_is_not_found_however_it_is_asked_for(
    client: httpx.Client,
) -> None:
    for path in ("/publications/9/rollback", "/publications/9/rollback?whole=true", f"{AT}?wave=7"):
        assert "there is no publication" in page(client, path, 404).text
