"""The pages in a real browser: nothing acts in them, all can read them, and they follow what goes on."""

from __future__ import annotations

import itertools

import pytest
from playwright.sync_api import Page, expect

from tests.browser import axe
from tests.browser.conftest import Open
from tests.builders import Json, a_node, an_edge
from tests.fleet import Fleet, a_broken_workflow, a_workflow
from tests.gate import Gate
from tests.publishing import Publishing

HOSTILE = '</text></svg><script>alert(1)</script><img src=x onerror=alert(2)>"><svg onload=alert(3)>\u202e'

PHONE_WIDTH = 390


def a_hostile_workflow() -> Json:
    """Texts that a browser would act on, wherever a person can write one; one is of 4 MiB."""
    nodes: list[Json] = []
    for node_type in ("start", "knowledge-retrieval", "llm", "end"):
        texts = {"title": HOSTILE, "model": HOSTILE, "document_ids": [HOSTILE]}
        data = {**texts, "prompt_template": f"{HOSTILE}{{question}}"}
        nodes.append(a_node(f"{node_type}{HOSTILE}", node_type, data))
    edges = [an_edge(*ends) for ends in itertools.pairwise(str(node["id"]) for node in nodes)]
    nodes[2]["data"]["prompt_template"] += "가" * 1_000_000
    return {"nodes": nodes, "edges": edges}


@pytest.fixture
def lived_in(fleet: Fleet) -> Fleet:
    """Six bots of which one is published and watched, a broken one, a hostile one; two runs and a wave."""
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
    return fleet


PATHS = (
    "/",
    "/runs",
    "/runs/1",
    "/bot?id=bot-00001",
    "/bot?id=hostile",
    "/bot?id=broken",
    "/publications",
    "/publications/1",
    "/publications/1/rollback",
    "/executions",
    "/audit",
    "/settings",
)


ALL = "{resultTypes: ['violations']}"
CONTRAST = "{resultTypes: ['violations'], runOnly: ['color-contrast']}"


def violations(page: Page, script: str, rules: str = ALL) -> list[str]:
    """What axe-core finds wrong on a page."""
    page.evaluate(f"{script};null")
    found = page.evaluate(f"axe.run({rules})")["violations"]
    return [f"{page.url} {one['id']}: {one['nodes'][0]['html'][:200]}" for one in found]


def test_no_page_acts_on_what_a_workflow_holds_nor_is_wider_than_a_phone(
    lived_in: Fleet, opened: Open
) -> None:
    with opened(viewport={"width": PHONE_WIDTH, "height": 800}) as page:
        for path in PATHS:
            page.goto(path)
            expect(page.locator("h1")).to_be_visible()
            assert page.evaluate("document.documentElement.scrollWidth") <= PHONE_WIDTH, path
            assert page.locator("img").count() == 0


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


def test_everybody_can_read_each_page_in_light_and_in_dark(lived_in: Fleet, opened: Open) -> None:
    script = axe.source()
    if script is None:
        pytest.skip("axe-core could not be fetched: there is no npm, or it reaches no registry")
    found: list[str] = []
    with opened(color_scheme="light", bypass_csp=True) as page:  # axe comes in as a script
        for path in PATHS:
            page.goto(path)
            found += violations(page, script)
        page.emulate_media(color_scheme="dark")
        for path in ("/", "/runs/1", "/bot?id=bot-00001", "/publications/1"):
            page.goto(path)
            found += violations(page, script, CONTRAST)
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
