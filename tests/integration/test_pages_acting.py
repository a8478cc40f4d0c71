"""What an operator does from a page: the same steps as the commands, the number typed, the actor named."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx2 as httpx
import msgspec
import pytest

from tests.fleet import Fleet, a_broken_workflow, a_workflow
from tests.gate import Gate
from tests.html import Page
from tests.publishing import Publishing
from tests.web import serving
from worker.runtime import Runtime
from worker.web.doors.people import hash_password

PASSWORD = "earl grey tea"


class Browser:
    """A person with a browser: looks at a page, and sends a form of it."""

    def __init__(self, client: httpx.Client) -> None:
        client.headers["Accept"] = "text/html"
        self.client = client

    def look(self, path: str, status: int = 200) -> Page:
        answer = self.client.get(path)
        assert answer.status_code == status, answer.text
        found = Page(answer.text)
        assert found.active == []
        return found

    def send(self, page: str, path: str, **fields: str | list[str]) -> tuple[int, str]:
        """Send a form of a page; the status, and where it leads or what it says."""
        data = {"csrf_token": self.look(page).fields("csrf_token")[0], **fields}
        answer = self.client.post(path, data=data)
        return answer.status_code, answer.headers.get("location") or Page(answer.text).text


@pytest.fixture
def browser(current: Runtime) -> Iterator[Browser]:
    with serving(current) as client:
        yield Browser(client)


def audit(fleet: Fleet) -> list[tuple[str, str, str | None]]:
    """The last entry first: who, what, why."""
    rows = fleet.rows("SELECT actor, action, reason FROM flowshift.audit ORDER BY id DESC")
    return [(row.actor, row.action, row.reason) for row in rows]


def test_a_run_is_paused_tuned_resumed_and_cancelled(fleet: Fleet, browser: Browser) -> None:
    fleet.add_many(12)
    fleet.planned(batch_size=5)

    sent = browser.send("/runs/1", "/runs/1/pause", reason="lunch")
    assert sent == (303, "/runs/1")
    assert audit(fleet)[0][1:] == ("run.paused", "lunch")
    assert audit(fleet)[0][0].startswith("http@")
    assert "Resume" in browser.look("/runs/1").text
    browser.send("/runs/1", "/runs/1/tune", max_rate="2.5", concurrency="none", batch_size="4")
    assert fleet.get(1).options.max_rate == 2.5
    assert fleet.get(1).options.batch_size == 4
    assert "at stake" not in browser.send("/runs/1", "/runs/1/resume")[1]
    assert fleet.get(1).state == "running"
    for typed in ("", "11", "twelve"):
        status, said = browser.send("/runs/1", "/runs/1/cancel", typed=typed)
        assert (status, "12 bots are at stake: nothing was changed" in said) == (422, True)
    assert fleet.get(1).state == "running"
    assert browser.send("/runs/1", "/runs/1/cancel", typed="12", reason="no")[0] == 303
    assert fleet.get(1).state == "cancelled"
    assert "/runs/1/cancel" not in [
        values.get("action") for tag, values in browser.look("/runs/1").tags if tag == "form"
    ]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("max_rate", "fast"),
        ("concurrency", "1.5"),
        ("batch_size", "none"),
        ("max_failures", "7"),
        ("max_rate", "nan"),
        ("max_rate", ""),
    ],
)
def test_a_limit_that_is_none_is_refused(
    fleet: Fleet, browser: Browser, field: str, value: str
) -> None:
    fleet.add_many(1)
    fleet.planned()
    before = fleet.get(1).options
    assert browser.send("/runs/1", "/runs/1/tune", **{field: value})[0] == 422
    assert fleet.get(1).options == before


def test_a_retry_takes_what_was_chosen_and_a_form_sent_twice_starts_one_run(
    fleet: Fleet, browser: Browser
) -> None:
    for bot_id in ("a", "b", "c"):
        fleet.add(bot_id, a_broken_workflow())
    fleet.add("d", {"nodes": []})
    fleet.run()
    token = browser.look("/runs/1").fields("csrf_token")[0]
    data = {"csrf_token": token, "code": "", "bot": ["a", "c"]}
    first, again = (browser.client.post("/runs/1/retry", data=data) for _ in range(2))
    assert first.headers["location"] == again.headers["location"] == "/runs/2"
    assert (first.status_code, fleet.get(2).bot_count, fleet.get(2).parent_run_id) == (303, 2, 1)
    browser.send("/runs/2", "/runs/2/cancel", typed="2")
    assert browser.send("/runs/1", "/runs/1/retry", code="no_nodes")[1] == "/runs/3"
    assert fleet.get(3).bot_count == 1


def test_a_viewer_is_shown_no_form_that_changes_anything_and_is_refused(
    current: Runtime, fleet: Fleet, tmp_path: Path
) -> None:
    fleet.add("a", a_broken_workflow())
    fleet.planned()
    users = tmp_path / "users"
    users.write_text(f"bob viewer {hash_password(PASSWORD)}\n")
    current.settings = msgspec.structs.replace(current.settings, web_users=str(users))
    with serving(current) as client:
        client.auth = httpx.BasicAuth("bob", PASSWORD)
        viewer = Browser(client)
        forms = [
            str(values.get("action"))
            for path in ("/runs/1", "/bot?id=a")
            for tag, values in viewer.look(path).tags
            if tag == "form"
        ]
        token = viewer.look("/bot?id=a").fields("csrf_token")[0]
        status = client.post("/runs/1/pause", data={"csrf_token": token}).status_code
    assert forms == ["/bot", "/runs/1#failures", "/bot", "/bot/try"]
    assert status == 403
    assert fleet.get(1).state == "running"


# -- publications ----------------------------------------------------------------------------------


@pytest.fixture
def gate(fleet: Fleet) -> Gate:
    """Six bots with proven drafts."""
    fleet.add_many(6)
    fleet.run(validate="sample:1")
    return Gate(Publishing(fleet))


def test_a_publication_shows_its_waves_the_gates_sentence_and_its_evidence(
    gate: Gate, browser: Browser
) -> None:
    assert "Nothing was published yet" in browser.look("/publications").text
    gate.start()
    gate.work()
    gate.tick()
    gate.execute(gate.bots(1), succeeded=30)
    gate.tick()
    found = browser.look("/publications/1")
    assert "clean executions are missing" in found.text
    assert "judged again from what is stored: the same" in found.text
    assert found.links("/publications/1?wave=1") == ["/publications/1?wave=1#gate"]
    plots = [values for tag, values in found.tags if values.get("class") == "plot"]
    assert len(plots) == 6
    assert "fails at 300" in found.text
    assert "passes at 20" in found.text
    assert "has no wave 9" in browser.look("/publications/1?wave=9", 404).text
    assert browser.look("/publications").links("/publications/1") == ["/publications/1"]
    assert "publication 1" in browser.look("/").text
    assert browser.look("/audit").links("/publications/1")


def test_a_publication_is_held_accepted_and_stopped_from_its_page(
    gate: Gate, browser: Browser
) -> None:
    at = "/publications/1"
    gate.start()
    gate.work()
    assert browser.send(at, f"{at}/hold", reason="complaints") == (303, at)
    assert gate.states()[0] == "held person"
    browser.send(at, f"{at}/go", reason="they are gone")
    assert gate.states()[0] == "watching"
    assert browser.send(at, f"{at}/accept", wave="1", reason=" ")[0] == 422
    assert browser.look(at).fields("wave") == ["1"]
    assert browser.send(at, f"{at}/accept", wave="1", reason="seen")[0] == 303
    assert gate.states() == ("publishing", ["accepted", "publishing", "pending"])
    assert browser.send(at, f"{at}/stop", typed="5")[0] == 422
    assert browser.send(at, f"{at}/stop", typed="6")[0] == 303
    assert gate.states()[0] == "stopped"


def test_a_rollback_needs_the_number_typed_and_the_preview_that_was_read(
    gate: Gate, browser: Browser
) -> None:
    at = "/publications/1/rollback"
    gate.start(text="all")
    gate.work()
    preview = browser.look(at)
    assert "6 bots: V1 answers again" in preview.text
    assert "It loses nothing." in preview.text
    plan = preview.fields("plan")[0]
    assert browser.send(at, at, plan=plan, typed="5")[0] == 422
    gate.fleet.change("bot-00001", a_workflow("another {question}"))
    assert browser.send(at, at, plan=plan, typed="6")[0] == 412
    assert gate.live() == set(gate.bots(1))
    again = browser.look(at)
    assert "V1 goes live with an edit made since" in again.text
    sent = browser.send(at, at, plan=again.fields("plan")[0], typed="6", reason="errors")
    run_id = int(sent[1].rpartition("/")[2])
    assert (sent[0], gate.fleet.get(run_id).kind) == (303, "roll_back")
    assert audit(gate.fleet)[0][2] == "errors"


def test_a_rollback_without_a_preview_needs_the_number_of_the_bots_that_are_live(
    gate: Gate, browser: Browser
) -> None:
    at = "/publications/1/rollback"
    gate.start(text="all")
    gate.work()
    gate.fleet.execute("DELETE FROM bots WHERE bot_id = 'bot-00001'")
    refused = browser.send(at, at, typed="5")
    assert refused[0] == 422
    assert "you typed '5', and 6 bots are at stake: nothing was changed" in refused[1]
    sent = browser.send(at, at, typed="6")
    assert (sent[0], gate.fleet.get(2 + 1).kind) == (303, "roll_back")


# -- executions, settings --------------------------------------------------------------------------


def test_executions_are_listed_and_shown_node_by_node(fleet: Fleet, browser: Browser) -> None:
    fleet.add_many(2)
    fleet.run(validate="sample:1")
    found = browser.look("/executions?bot=bot-00001")
    [link] = found.links("/executions/")
    shown = browser.look(link)
    assert "bot-00001" in shown.text
    assert shown.text.count("completed") == 4
    assert "None that fits" in browser.look("/executions?failed=true").text
    assert len(browser.look("/executions?run=1").links("/executions/")) == 2
    assert "there is no execution" in browser.look("/executions/ffffffff", 404).text


def test_settings_say_where_values_are_from_and_hide_secrets(
    current: Runtime, browser: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FLOWSHIFT_BATCH_SIZE", "7")
    changed = {
        "flower_basic_auth": "ann:earl-grey",
        "database_url": "postgresql://u:darjeeling@h/d",
    }
    current.settings = msgspec.structs.replace(current.settings, **changed)
    found = browser.look("/settings")
    assert "earl-grey" not in found.text
    assert "darjeeling" not in found.text
    assert found.text.count("set, and not shown") >= 2
    assert found.text.count("environment") == 1
    assert "Bots per batch" in found.text
