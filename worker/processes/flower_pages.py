"""Flower's pages with a link to ours: a bar below its navigation, on every page of it.

Flower shows every text of a task escaped and has no option for links, so the page that a row is
about is linked from the bar: Flower's own template of the navigation is included, unchanged.
"""

from __future__ import annotations

import re
from typing import Final

import msgspec
from tornado.template import Loader, Template

NAVIGATION: Final = "navbar.html"
_THEIRS: Final = "flower/navbar.html"
_OURS: Final = """{% include "flower/navbar.html" %}
{% set page = handler.application.settings["page_of"](handler.request.path) %}
{% if page %}<div class="container-fluid py-2">
<a href="{{ page.url }}" rel="noreferrer">{{ page.said }}</a>
</div>{% end %}"""

_RUN: Final = re.compile(r"/task/run-([1-9][0-9]{0,18})(?:-plan|-batch-[0-9]+)?")
_PUBLICATION: Final = re.compile(r"/task/publication-([1-9][0-9]{0,18})")


class Page(msgspec.Struct, frozen=True):
    """A page of `flowshift serve`, and what its link says."""

    url: str
    said: str


def page_of(pages: str, path: str) -> Page | None:
    """The page of ours for a page of Flower's: that of its run or publication, else the first.

    `pages` is the address of `flowshift serve`, empty if none is known.

    >>> page_of("http://serve/", "/task/run-12-batch-3")
    Page(url='http://serve/runs/12', said='Run 12 in flowshift')
    """
    if not pages:
        return None
    base = pages.rstrip("/")
    if of_run := _RUN.fullmatch(path):
        return Page(f"{base}/runs/{of_run[1]}", f"Run {of_run[1]} in flowshift")
    if of_publication := _PUBLICATION.fullmatch(path):
        number = of_publication[1]
        return Page(f"{base}/publications/{number}", f"Publication {number} in flowshift")
    return Page(f"{base}/", "Runs, publications and bots in flowshift")


class Templates(Loader):
    """Flower's templates, with our bar below its navigation."""

    def resolve_path(self, name: str, parent_path: str | None = None) -> str:
        """The name of a template within another one."""
        return name if name == _THEIRS else str(super().resolve_path(name, parent_path))

    def _create_template(self, name: str) -> Template:
        if name == NAVIGATION:
            return Template(_OURS, name=name, loader=self)
        return super()._create_template(NAVIGATION if name == _THEIRS else name)
