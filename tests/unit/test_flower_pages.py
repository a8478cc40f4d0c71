"""Flower's pages lead to ours: to the run or publication that a row is of, else to the first page."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from flower.urls import settings

from worker.processes.flower_pages import NAVIGATION, Templates, page_of

SERVE = "https://flowshift.example/"


@pytest.mark.parametrize(
    ("path", "leads_to"),
    [
        ("/task/run-12", "https://flowshift.example/runs/12"),
        ("/task/run-12-plan", "https://flowshift.example/runs/12"),
        ("/task/run-12-batch-7", "https://flowshift.example/runs/12"),
        ("/task/publication-3", "https://flowshift.example/publications/3"),
        ("/task/8f14e45f-ceea-467f-a0e6-1fb1a8a1e3bb", SERVE),
        ("/task/run-12-batch-x", SERVE),
        ("/task/publication-3-plan", SERVE),
        ("/task/run-0", SERVE),
        ("/task/run-99999999999999999999", SERVE),
        ("/tasks", SERVE),
    ],
)
def test_a_page_of_flowers_leads_to_the_page_of_what_it_shows(path: str, leads_to: str) -> None:
    page = page_of(SERVE, path)

    assert page is not None
    assert page.url == leads_to


def test_flower_leads_nowhere_if_the_address_of_our_pages_is_not_known() -> None:
    assert page_of("", "/task/run-12") is None
    assert "flowshift" not in navigation("", "/task/run-12")


def test_flowers_navigation_stays_as_it_is_and_the_link_comes_after_it() -> None:
    with_link = navigation(SERVE, "/task/run-12")
    without = navigation("", "/task/run-12")

    assert 'aria-label="Primary navigation"' in without
    assert with_link.startswith(without.rstrip())
    link = '<a href="https://flowshift.example/runs/12" rel="noreferrer">Run 12 in flowshift</a>'
    assert link in with_link.removeprefix(without.rstrip())


def test_an_address_cannot_add_to_flowers_pages() -> None:
    assert "<b>" not in navigation('https://a/"><b>', "/tasks")


def navigation(pages: str, path: str) -> str:
    """The navigation of a page of Flower's, with what comes below it."""
    application = SimpleNamespace(
        settings={"page_of": lambda path: page_of(pages, path)},
        options=SimpleNamespace(auth=""),
    )
    handler = SimpleNamespace(application=application, request=SimpleNamespace(path=path))
    template = Templates(settings["template_path"]).load(NAVIGATION)
    return template.generate(
        handler=handler,
        active_tab="tasks",
        current_user=None,
        reverse_url=lambda name: f"/{name}",
        static_url=lambda name: f"/static/{name}",
    ).decode()
