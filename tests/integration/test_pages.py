"""The pages: they say what is committed, in bounded queries, and nothing in a workflow acts in them."""

from __future__ import annotations

import csv
import io
import itertools
from collections.abc import Iterator
from contextlib import contextmanager

import httpx2 as httpx
import pytest

from tests.builders import a_node, an_edge, paths
from tests.fleet import Fleet, a_broken_workflow, a_workflow
from tests.html import Page
from tests.integration.conftest import Run
from tests.live import eventually
from tests.web import serving
from worker.db import run_pace, run_results
from worker.db.run_pace import slices_for
from worker.runtime import Runtime
from worker.steps.run_page import PAGE
from worker.web.pages import runs

BROWSER = {"Accept": "text/html"}
SCRIPT = "<script>alert(1)</script>"
TURNED = "a\u202eb"


@pytest.fixture
def client(current: Runtime) -> Iterator[httpx.Client]:
    with serving(current) as client:
        client.headers.update(BROWSER)
        yield client


def page(client: httpx.Client, path: str, status: int = 200) -> Page:
    """A page, which holds nothing that a browser would run or load from elsewhere."""
    answer = client.get(path)
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"].startswith("text/html")
    found = Page(answer.text)
    assert found.active == []
    return found


def with_text(client: httpx.Client, path: str, text: str) -> Page | None:
    """The page, if it says this."""
    found = page(client, path)
    return found if text in found.text else None


def tokens(client: httpx.Client, path: str) -> str:
    return page(client, path).fields("csrf_token")[0]


# -- now -------------------------------------------------------------------------------------------


def test_the_first_page_says_what_goes_on_and_why_it_waits(
    fleet: Fleet, client: httpx.Client
) -> None:
    fleet.add_many(3)
    run = fleet.planned()
    fleet.execute("UPDATE flowshift.runs SET state = 'paused', state_reason = 'too many failures'")
    found = page(client, "/")
    assert "run 1" in found.text
    assert "too many failures" in found.text
    assert "no worker works, and none was seen within a day" in found.text
    assert "0 of 3 bots" in found.text
    assert run.run_id == 1


@contextmanager
def uncountable(fleet: Fleet) -> Iterator[None]:
    """A run over three bots; meanwhile nobody can count the fleet."""
    fleet.add_many(3)
    fleet.planned()
    with fleet.engine.begin() as other:
        other.exec_driver_sql("LOCK TABLE bot_workflow_versions IN ACCESS EXCLUSIVE MODE")
        yield


def test_the_first_page_does_not_wait_for_a_count_of_the_fleet_and_has_it_later(
    fleet: Fleet, client: httpx.Client
) -> None:
    with uncountable(fleet):
        found = page(client, "/")
        assert "The fleet is being counted." in found.text
        assert "0 of 3 bots" in found.text
    assert "being counted" not in eventually(lambda: with_text(client, "/", "Counted 2")).text


def test_the_first_page_is_there_even_if_the_fleet_cannot_be_counted(
    fleet: Fleet, client: httpx.Client
) -> None:
    with uncountable(fleet):
        said = "The fleet could not be counted: "
        found = eventually(lambda: with_text(client, "/", said))
    assert "0 of 3 bots" in found.text


def test_the_first_page_says_which_alerts_fire_and_what_is_stuck(
    fleet: Fleet, client: httpx.Client
) -> None:
    fleet.execute("""
        INSERT INTO flowshift.alerts (rule, state, since, judged_at, said)
        VALUES ('queue-stands', 'firing', now(), now(), 'x is 700, above 600'),
               ('quiet', 'ok', now(), now(), 'y is 0')
    """)
    found = page(client, "/")
    assert "queue-stands has been firing since " in found.text
    assert "x is 700, above 600" in found.text
    assert "quiet" not in found.text
    assert "notifications stuck" not in found.text
    fleet.execute("""
        WITH recorded AS (
            INSERT INTO flowshift.notifications
                (kind, level, key, title, page, happened_at, due_at, spread_at)
            VALUES ('run.paused', 'error', 'k', 't', '/', now() - interval '1 hour',
                    now() - interval '1 hour', now())
            RETURNING notification_id)
        INSERT INTO flowshift.deliveries (notification_id, channel)
        SELECT notification_id, 'ops' FROM recorded
    """)
    fleet.execute("INSERT INTO flowshift.channels (channel, answer) VALUES ('ops', 'HTTP 503')")
    assert "stuck: ops has not taken 1 for 1 h 0 min (HTTP 503)" in page(client, "/").text


def test_a_page_that_is_as_it_was_is_answered_with_304_and_a_change_with_the_page(
    fleet: Fleet, client: httpx.Client
) -> None:
    fleet.add_many(2)
    fleet.run()
    first = client.get("/runs/1")
    same = client.get("/runs/1", headers={"If-None-Match": first.headers["etag"]})
    fleet.execute("UPDATE flowshift.batches SET warnings = warnings + 7")
    other = client.get("/runs/1", headers={"If-None-Match": first.headers["etag"]})
    assert (same.status_code, same.text) == (304, "")
    assert other.status_code == 200
    assert other.headers["etag"] != first.headers["etag"]
    assert f"data-etag={first.headers['etag']}" in first.text


# -- runs ------------------------------------------------------------------------------------------


def test_a_run_shows_its_codes_with_two_examples_and_its_failures_by_the_page(
    fleet: Fleet, client: httpx.Client, flowshift: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(PAGE + 5):
        fleet.add(f"broken-{number:03}", a_broken_workflow())
    fleet.add("empty", {"nodes": []})
    fleet.add_many(3)
    fleet.run(batch_size=10)

    whole = page(client, "/runs/1")
    shown = whole.links("/bot?id=")
    assert "/bot?id=empty" in shown
    assert shown[:2] == ["/bot?id=broken-000", "/bot?id=broken-001"]
    assert "no_nodes" in whole.text
    [following] = [one for one in whole.links("after_bot") if "after_code" in one]
    rest = page(client, following.split("#")[0])
    listed = rest.links("/bot?id=broken-05")
    assert listed[-5:] == [f"/bot?id=broken-05{number}" for number in range(5)]
    assert page(client, "/runs/1?code=no_nodes").links("/bot?id=").count("/bot?id=empty") == 2
    begins = page(client, "/runs/1?begins=broken-01")
    assert "/bot?id=broken-020" not in begins.links("/bot?id=")
    assert "/bot?id=broken-019" in begins.links("/bot?id=")
    assert "fits what you asked for" in page(client, "/runs/1?begins=%25").text

    monkeypatch.setattr(runs, "CSV_PAGE", 7)
    answer = client.get("/runs/1/failures.csv")
    _, out, _ = flowshift("failures", "1", "--csv")
    assert answer.text == out
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    rows = list(csv.DictReader(io.StringIO(client.get("/runs/1/failures.csv?code=no_nodes").text)))
    assert [row["bot_id"] for row in rows] == ["empty"]
    assert page(client, "/runs").links("/runs/1") == ["/runs/1"]


def test_a_run_that_is_not_there_is_said_as_a_page_and_to_programs_as_a_problem(
    client: httpx.Client,
) -> None:
    assert "there is no run 7" in page(client, "/runs/7", 404).text
    answer = client.get("/runs/7", headers={"Accept": "application/json"})
    assert answer.json()["code"] == "not_found"
    assert client.get("/runs/0").status_code == 400
    assert client.get("/runs/99999999999999999999").status_code in (400, 404)
    assert client.get("/runs/7/failures.csv").status_code == 404


def test_a_path_that_leads_nowhere_is_said_as_a_page_beside_the_interface_for_programs(
    client: httpx.Client,
) -> None:
    assert "Not Found" in page(client, "/nowhere", 404).text
    answer = client.get("/api/v1/nowhere")
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


def test_what_was_pruned_is_said_to_be_pruned(fleet: Fleet, client: httpx.Client) -> None:
    fleet.add("broken", a_broken_workflow())
    fleet.run()
    fleet.execute("DELETE FROM flowshift.ledger")
    fleet.execute("UPDATE flowshift.runs SET ledger_pruned_at = now()")
    found = page(client, "/runs/1")
    assert "only its counts are left" in found.text
    assert "invalid_config" in found.text


def test_the_pace_of_a_run_adds_up_to_its_batches(fleet: Fleet) -> None:
    fleet.add_many(30)
    fleet.add("broken", a_broken_workflow())
    fleet.run(batch_size=2)
    fleet.execute(
        "UPDATE flowshift.batches SET finished_at = r.started_at + number * interval '10 s',"
        " duration_ms = number FROM flowshift.runs r WHERE r.run_id = batches.run_id"
    )
    fleet.execute("UPDATE flowshift.runs SET finished_at = started_at + interval '160 s'")
    with fleet.engine.connect() as connection:
        pace = run_pace.pace(connection, 1, 16)
        nothing = run_pace.pace(connection, 99, 0)
    assert (pace.span_s, len(pace.slices), pace.slice_s) == (160, 8, 20)
    assert [one.batches for one in pace.slices] == [1, 2, 2, 2, 2, 2, 2, 3]
    assert [one.batch_ms for one in pace.slices][:3] == [1, 2.5, 4.5]
    assert (sum(one.bots for one in pace.slices), sum(one.failed for one in pace.slices)) == (31, 1)
    assert len(nothing.slices) == slices_for(0)
    assert not any(one.batches for one in nothing.slices)


def test_examples_are_found_in_batches_of_ranges_and_of_lists(fleet: Fleet) -> None:
    fleet.add_many(5)
    for bot_id in ("broken-1", "broken-2", "broken-3"):
        fleet.add(bot_id, a_broken_workflow())
    fleet.run(batch_size=2)
    fleet.run(bot_ids=("broken-2", "broken-3", "bot-00001"))
    with fleet.engine.connect() as connection:
        found = [
            [
                one.bot_id
                for one in run_results.examples(connection, run_id, "failed:invalid_config")
            ]
            for run_id in (1, 2)
        ]
        none = run_results.examples(connection, 1, "failed:cycle")
    assert found == [["broken-1", "broken-2"], ["broken-2", "broken-3"]]
    assert none == []


# -- bots ------------------------------------------------------------------------------------------


def test_a_bot_is_drawn_as_v1_and_v2_with_its_parity_message_by_message(
    fleet: Fleet, client: httpx.Client
) -> None:
    fleet.add("a/b c", a_workflow())
    fleet.run()
    graph = fleet.drafts()["a/b c"]
    graph["nodes"][-2]["data"]["prompt_template"] = "{question}!"
    fleet.set_draft("a/b c", graph)

    found = page(client, "/bot?id=a%2Fb+c")

    pictures = [values for tag, values in found.tags if values.get("class") == "workflow"]
    assert [one["aria-labelledby"] for one in pictures] == ["v1-title v1-desc", "v2-title v2-desc"]
    assert "a person drew or changed this draft" in found.text
    assert "--overwrite-edited" in found.text
    assert "different on 6" in found.text
    assert [tag for tag, _ in found.tags].count("mark") >= 6
    assert "Does every node have its ports?" in found.text


def test_an_unknown_bot_names_those_that_begin_alike(fleet: Fleet, client: httpx.Client) -> None:
    fleet.add_many(1)
    assert "did you mean bot-" in page(client, "/bot?id=bot-9", 404).text


def hostile_nodes(text: str) -> Iterator[dict[str, object]]:
    """Nodes that hold a text wherever a person can write one."""
    for node_type in ("start", "knowledge-retrieval", "llm", "end"):
        data = {"title": text, "model": text, "document_ids": [text], "prompt_template": text}
        yield a_node(f"{node_type}{text}", node_type, data)


@pytest.mark.parametrize("text", [SCRIPT, '"><svg onload=alert(1)>', "{{ 7 * 7 }}", TURNED])
def test_nothing_that_a_workflow_holds_acts_in_a_page(
    fleet: Fleet, client: httpx.Client, text: str
) -> None:
    nodes = list(hostile_nodes(text))
    ids = [str(node["id"]) for node in nodes]
    edges = [an_edge(*ends) for ends in itertools.pairwise(ids)]
    fleet.add("hostile", {"nodes": nodes, "edges": edges})
    fleet.add(f"b{text}"[:50], {"nodes": [a_node(text, text)], "edges": paths(f"{text}>x")})
    fleet.execute("UPDATE bots SET name = :name", name=text)
    fleet.run()

    found = page(client, "/bot?id=hostile")
    pages = [found, page(client, "/runs/1"), page(client, "/")]
    tried = client.post(
        "/bot/try",
        data={"id": "hostile", "message": text, "csrf_token": found.fields("csrf_token")[0]},
    )

    assert tried.status_code == 200
    assert Page(tried.text).active == []
    for one in pages:
        assert one.active == []
        assert "\u202e" not in one.text
    shown = text.replace("\u202e", "\\u202e")
    assert shown in found.text
    assert "49" not in [node.strip() for node in found.text.split("\n")]


def test_a_message_is_tried_on_echo_and_nothing_is_written(
    fleet: Fleet, client: httpx.Client
) -> None:
    fleet.add("a", a_workflow())
    fleet.run()
    before = fleet.rows("SELECT count(*) FROM workflow_execution_runs")
    token = tokens(client, "/bot?id=a")
    data = {"id": "a", "message": "안녕하세요", "csrf_token": token}

    tried = client.post("/bot/try", data=data)
    refused = client.post("/bot/try", data={**data, "csrf_token": "x"})
    too_long = client.post("/bot/try", data={**data, "message": "x" * 10_001})

    said = Page(tried.text)
    assert "the same" in said.text
    assert "안녕하세요" in said.text
    assert (refused.status_code, too_long.status_code) == (403, 400)
    assert fleet.rows("SELECT count(*) FROM workflow_execution_runs") == before


def test_a_large_workflow_is_listed_and_not_drawn(fleet: Fleet, client: httpx.Client) -> None:
    middle = [a_node(f"k{number}", "knowledge-retrieval") for number in range(400)]
    chain = ">".join(["start", *(f"k{number}" for number in range(400)), "end"])
    nodes = [a_node("start", "start"), *middle, a_node("end", "end")]
    fleet.add("large", {"nodes": nodes, "edges": paths(chain)})
    found = page(client, "/bot?id=large")
    assert "402 nodes are too many for a picture" in found.text
    assert "… and 302 more" in found.text
    assert len(found.text) < 200_000


# -- files -----------------------------------------------------------------------------------------


def test_files_are_kept_by_browsers_under_names_that_change_with_them(client: httpx.Client) -> None:
    found = page(client, "/runs")
    styles = [str(values["href"]) for _, values in found.tags if values.get("rel") == "stylesheet"]
    assert [path.rpartition("/")[2] for path in styles] == ["colours.css", "style.css"]
    for path in styles:
        answer = client.get(path)
        assert answer.status_code == 200
        assert answer.headers["content-type"] == "text/css; charset=utf-8"
        assert "immutable" in answer.headers["cache-control"]
    assert client.get("/assets/0123456789abcdef/style.css").status_code == 404
    assert client.get("/assets/x/..%2f..%2fapp.py").status_code == 404
