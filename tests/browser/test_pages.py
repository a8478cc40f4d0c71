"""The pages in a real browser: nothing acts in them, all can read them, and they follow what goes on."""

from __future__ import annotations

import itertools
import json
import threading
from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

from tests.browser import axe
from tests.browser.conftest import Open
from tests.builders import Json, a_node, an_edge
from tests.fleet import Fleet, a_broken_workflow, a_workflow
from tests.gate import Gate
from tests.publishing import Publishing
from worker.db.publication.rolling import Which
from worker.runtime import Runtime
from worker.steps.publication import rollback
from worker.web.pages import looking, publications

EXECUTION = "11111111-1111-4111-8111-111111111111"

HOSTILE = '</text></svg><script>alert(1)</script><img src=x onerror=alert(2)>"><svg onload=alert(3)>\u202e'

PHONE_WIDTH = 390


def a_hostile_workflow() -> Json:
    """Texts that a browser would act on, wherever a person can write one; one is of nearly 4 MiB."""
    nodes: list[Json] = []
    for node_type in ("start", "knowledge-retrieval", "llm", "end"):
        texts = {"title": HOSTILE, "model": HOSTILE, "document_ids": [HOSTILE]}
        data = {**texts, "prompt_template": f"{HOSTILE}{{question}}"}
        nodes.append(a_node(f"{node_type}{HOSTILE}", node_type, data))
    edges = [an_edge(*ends) for ends in itertools.pairwise(str(node["id"]) for node in nodes)]
    nodes[2]["data"]["prompt_template"] += "가" * 600_000
    return {"nodes": nodes, "edges": edges}


@pytest.fixture
def lived_in(fleet: Fleet) -> Fleet:
    """Six bots of which one is published and watched, a broken one, a hostile one; two runs and a wave.

    Whatever a person, a platform or a model may have written is hostile.
    """
    fleet.add_many(6)
    fleet.add("broken", a_broken_workflow())
    fleet.add("hostile", a_hostile_workflow())
    fleet.execute("UPDATE bots SET name = :name WHERE bot_id = 'hostile'", name=HOSTILE)
    fleet.run(validate="sample:1")
    gate = Gate(Publishing(fleet))
    gate.start()
    gate.work()
    gate.tick()
    gate.execute(gate.bots(1), succeeded=20, failed=1)
    gate.tick()
    fleet.execute(_WRITTEN, id=EXECUTION, text=HOSTILE, values=json.dumps({HOSTILE: HOSTILE}))
    fleet.execute(_NODES, id=EXECUTION, text=HOSTILE, values=json.dumps({HOSTILE: HOSTILE}))
    fleet.execute(_SAID, text=HOSTILE)
    return fleet


_WRITTEN = """
    INSERT INTO workflow_execution_runs (id, bot_id, workflow_version_id, session_id, graph_snapshot,
        inputs, outputs, status, error_message, elapsed_time, created_at)
    SELECT CAST(:id AS uuid), bot_id, id, CAST(:text AS text), '{}', CAST(:values AS jsonb),
           CAST(:values AS jsonb),
           'failed', CAST(:text AS text), 1, now()
    FROM bot_workflow_versions WHERE bot_id = 'hostile'
"""
_NODES = """
    INSERT INTO workflow_node_executions (workflow_run_id, node_id, node_type, execution_order, inputs,
        outputs, status, error_message, elapsed_time)
    SELECT CAST(:id AS uuid), left(CAST(:text AS text), 90), left(CAST(:text AS text), 40), n,
           CAST(:values AS jsonb), CAST(:values AS jsonb),
           left(CAST(:text AS text), 20), CAST(:text AS text), 1
    FROM generate_series(1, 3) AS n
"""
_SAID = """
    WITH recorded AS (
        INSERT INTO flowshift.notifications (kind, level, key, title, page, happened_at, due_at, spread_at)
        VALUES ('run.paused', 'error', 'k', 't', '/', now() - interval '1 hour',
                now() - interval '1 hour', now())
        RETURNING notification_id),
    sent AS (
        INSERT INTO flowshift.deliveries (notification_id, channel)
        SELECT notification_id, CAST(:text AS text) FROM recorded),
    channel AS (
        INSERT INTO flowshift.channels (channel, answer)
        VALUES (CAST(:text AS text), CAST(:text AS text))),
    alert AS (
        INSERT INTO flowshift.alerts (rule, state, since, judged_at, said)
        VALUES (CAST(:text AS text), 'firing', now(), now(), CAST(:text AS text))),
    done AS (
        INSERT INTO flowshift.audit (actor, action, run_id, reason, detail)
        VALUES (CAST(:text AS text), 'run.paused', 1, CAST(:text AS text), '{}')),
    ledger AS (UPDATE flowshift.ledger SET message = CAST(:text AS text) WHERE bot_id = 'broken'),
    run AS (UPDATE flowshift.runs SET state_reason = CAST(:text AS text),
                                     requested_by = CAST(:text AS text))
    UPDATE flowshift.publications SET state_reason = CAST(:text AS text), requested_by = CAST(:text AS text)
"""


PATHS = (
    "/",
    "/runs",
    "/runs/1",
    "/runs/1?code=disconnected&begins=bro",
    "/bot?id=bot-00001",
    "/bot?id=hostile",
    "/bot?id=broken",
    "/publications",
    "/publications/1",
    "/publications/1?wave=1",
    "/publications/1/rollback",
    "/executions",
    "/executions?bot=hostile",
    f"/executions/{EXECUTION}",
    "/audit",
    "/settings",
    "/docs",
)

REFUSED = ("/bot?id=nothing", "/runs/99", "/nowhere", "/executions/00")

PHONE = {"width": PHONE_WIDTH, "height": 800}
DESK = {"width": 1_600, "height": 900}


def violations(page: Page, script: str) -> list[str]:
    """What axe-core finds wrong on a page."""
    page.evaluate(f"{script};null")
    found = page.evaluate("axe.run({resultTypes: ['violations']})")["violations"]
    return [f"{page.url} {one['id']}: {one['nodes'][0]['html'][:200]}" for one in found]


def test_no_page_acts_on_what_a_workflow_holds_nor_is_wider_than_a_phone(
    lived_in: Fleet, opened: Open
) -> None:
    for size in (PHONE, DESK):
        with opened(viewport=size) as page:
            for path in PATHS:
                page.goto(path)
                look_at(page, size["width"])
            try_a_message(page, f"{HOSTILE} {LONG}")
            look_at(page, size["width"])
    with opened(viewport=PHONE, refused=True) as page:
        for path in REFUSED:
            page.goto(path)
            look_at(page, PHONE_WIDTH)


def look_at(page: Page, width: int) -> None:
    """A page is no wider than its window, and holds no picture of anybody's."""
    expect(page.locator("h1")).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= width, page.url
    assert page.locator("img, iframe, main script").count() == 0, page.url
    assert "\u202e" not in page.locator("body").inner_text(), page.url


def try_a_message(page: Page, message: str) -> None:
    """Ask the hostile bot, and stay on the page that says what it answered."""
    page.goto("/bot?id=hostile")
    page.locator("#message").fill(message)
    page.get_by_role("button", name="Try it").click()
    expect(page.locator("h1")).to_have_text("Try a message")


LONG = "띄어쓰기없이이어지는긴한국어단어" * 6


def a_korean_workflow() -> Json:
    """Korean titles and prompts, of words with blanks and of one without any."""
    nodes = [
        a_node("시작", "start", {"title": "시작"}),
        a_node("지식", "knowledge-retrieval", {"title": "환불 규정 검색", "document_ids": [LONG]}),
        a_node("답변", "llm", {"title": LONG, "prompt_template": f"{LONG}{{context}}{{question}}"}),
        a_node("끝", "end", {"title": "끝"}),
    ]
    ids = [str(node["id"]) for node in nodes]
    return {"nodes": nodes, "edges": [an_edge(*ends) for ends in itertools.pairwise(ids)]}


def test_korean_text_is_whole_in_a_narrow_and_a_wide_window(fleet: Fleet, opened: Open) -> None:
    fleet.add("한국어-봇", a_korean_workflow())
    fleet.execute("UPDATE bots SET name = :name WHERE bot_id = '한국어-봇'", name=LONG[:100])
    fleet.run()
    for width in (PHONE_WIDTH, 1_440):
        with opened(viewport={"width": width, "height": 800}) as page:
            page.goto("/bot?id=한국어-봇")
            expect(page.locator("h1")).to_contain_text(LONG[:100])
            cut = page.locator(".scroll:not(.picture)").evaluate_all(
                "all => all.filter(one => one.scrollWidth > one.clientWidth)"
                ".map(one => one.getAttribute('aria-label'))"
            )
            assert "Table: Parity, by message" not in cut
            assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_both_pictures_are_seen_whole_at_1280_pixels_and_side_by_side_on_a_wide_screen(
    fleet: Fleet, opened: Open
) -> None:
    fleet.add("bot", a_workflow())
    fleet.run()
    for width, is_beside in ((1_280, False), (1_920, True)):
        with opened(viewport={"width": width, "height": 900}) as page:
            page.goto("/bot?id=bot")
            pictures = page.locator(".picture")
            expect(pictures).to_have_count(2)
            assert pictures.evaluate_all(
                "all => all.every(one => one.scrollWidth <= one.clientWidth)"
            )
            first, second = (pictures.nth(number).bounding_box() for number in (0, 1))
            assert first is not None
            assert second is not None
            assert (first["y"] == second["y"]) is is_beside


@pytest.mark.timeout(600)
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [PHONE, DESK], ids=["phone", "desk"])
def test_everybody_can_read_each_page(
    lived_in: Fleet, opened: Open, scheme: str, size: dict[str, int]
) -> None:
    script = axe.source()
    if script is None:
        pytest.skip("axe-core could not be fetched: there is no npm, or it reaches no registry")
    found: list[str] = []
    how = {"color_scheme": scheme, "viewport": size, "bypass_csp": True}  # axe comes in as a script
    with opened(**how) as page:
        for path in PATHS:
            page.goto(path)
            found += violations(page, script)
        try_a_message(page, "환불은 언제 되나요?")
        found += violations(page, script)
    with opened(refused=True, **how) as page:
        page.goto(REFUSED[0])
        found += violations(page, script)
    assert found == []


def test_a_page_follows_what_goes_on_and_leaves_a_form_alone(fleet: Fleet, opened: Open) -> None:
    fleet.add_many(4, workflow=a_workflow())
    fleet.planned(batch_size=2)
    look = "document.dispatchEvent(new Event('visibilitychange'))"
    with opened() as page:
        page.goto("/runs/1")
        expect(page.locator("#progress")).to_contain_text("0 of 4 bots")
        page.locator("#pause-reason").fill("lunch")
        fleet.convert(1, 1)
        page.evaluate(look)
        expect(page.locator("#progress")).to_contain_text("2 of 4 bots")
        expect(page.locator("#pause-reason")).to_have_value("lunch")
        expect(page.locator("#pause-reason")).to_be_focused()
        expect(page.locator("#act")).to_contain_text("Pause")
        page.keyboard.press("Enter")
        expect(page.locator("#progress")).to_contain_text("paused")
        assert fleet.get(1).state_reason == "lunch"


def test_without_javascript_and_with_the_keyboard_alone_a_bot_is_found_and_tried(
    fleet: Fleet, opened: Open
) -> None:
    fleet.add("상담 봇", a_workflow())
    fleet.run()
    with opened(java_script_enabled=False) as page:
        page.goto("/")
        page.keyboard.press("Tab")
        expect(page.locator(".skip")).to_be_focused()
        page.locator("#find-bot").focus()
        page.keyboard.type("상담 봇")
        page.keyboard.press("Enter")
        expect(page.locator("h1")).to_contain_text("상담 봇")
        expect(page.locator("svg.workflow")).to_have_count(2)
        page.locator("#message").focus()
        page.keyboard.type("환불은 언제 되나요?")
        page.keyboard.press("Tab")
        page.keyboard.press("Enter")
        expect(page.locator("main")).to_contain_text("the same")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_look_at_many_bots_is_followed_and_read_without_javascript(
    lived_in: Fleet, opened: Open, monkeypatch: pytest.MonkeyPatch, scheme: str
) -> None:
    monkeypatch.setattr(publications, "LOOKED_AT_ONCE", 0)
    goes_on = threading.Event()

    def look(current: Runtime, which: Which, *, at: Callable[[int], None]) -> rollback.Look:
        def slowly(bots: int) -> None:
            at(bots)
            assert goes_on.wait(60)

        return rollback.look(current, which, at=slowly)

    monkeypatch.setattr(looking, "look", look)
    with opened(viewport=PHONE, color_scheme=scheme, java_script_enabled=False) as page:
        page.goto("/publications/1/rollback")
        look_at(page, PHONE_WIDTH)
        expect(page.get_by_role("button", name="Roll back")).to_be_hidden()
        page.locator("summary").click()
        expect(page.get_by_role("button", name="Roll back")).to_be_visible()
        page.get_by_role("link", name="Look at each of them").click(no_wait_after=True)
        lines = page.locator(".looking > p")
        expect(lines.last).to_have_text("Looked at 0 % of 1 bot. The result follows here.")
        expect(lines.last).to_be_visible()
        goes_on.set()
        expect(page.get_by_text("1 bot: V1 answers again")).to_be_visible()
        expect(lines.first).to_be_hidden()
        expect(lines.last).to_be_visible()
        look_at(page, PHONE_WIDTH)
