"""Templates to HTML: what every page has, and the words and numbers that templates may use.

Templates escape what they are given, and fail on what they are not given. Whatever a person or a
platform wrote passes `plain` besides, which shows what would turn the direction of writing round.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import re
from collections.abc import Callable, Mapping
from typing import Any, Final
from urllib.parse import urlencode

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from worker.core.counted import counted
from worker.core.policy.processes import ago
from worker.core.policy.states import words
from worker.core.shown import plain, short
from worker.core.units import duration, milliseconds, percent, span
from worker.web.pages.assets import ASSETS

TEXT_WIDTH: Final = 500
"""Characters of a text that a page shows where it says nothing else."""

TOKEN_MARK: Final = "csrf-token-of-who-asks"  # noqa: S105  (where the token is put when a page is sent)
ETAG_MARK: Final = "etag-of-this-page"


def _number(value: float | None) -> str:
    if value is None:
        return "–"
    return f"{value:,.0f}" if value == int(value) or abs(value) >= 100 else f"{value:,.1f}"


def _at(time: dt.datetime | None) -> Markup:
    """A time, in UTC, as people and programs read it."""
    if time is None:
        return Markup("–")
    utc = time.astimezone(dt.UTC)
    return Markup('<time datetime="{}">{}</time>').format(
        utc.isoformat(timespec="seconds"), f"{utc:%Y-%m-%d %H:%M:%S}"
    )


def _plain(value: object, width: int = TEXT_WIDTH) -> str:
    return "–" if value is None else plain(value, width)


def _whole_ms(elapsed_ms: int | None) -> str:
    return milliseconds(None if elapsed_ms is None else round(elapsed_ms) * 1_000)


def _evidence(e: float) -> str:
    """A value of E: beyond a million nobody compares it."""
    return "over 1,000,000" if e > _MOST_E else _number(e)


_MOST_E: Final = 1_000_000.0
_CODE: Final = re.compile("`([^`]*)`")
_LINK: Final = re.compile(r"\[([^\]]*)\]\([^)]*\)")


def _said(text: str) -> Markup:
    """A sentence of ours as it is written in messages and in the documentation: code in backticks.

    Of links into the documentation, which is not here, the words stay.
    """
    pieces = _CODE.split(_LINK.sub(r"\1", text))
    return Markup("").join(
        Markup("<code>{}</code>").format(piece) if number % 2 else escape(piece)
        for number, piece in enumerate(pieces)
    )


def picture(svg: str) -> Markup:
    """A picture of `worker.core.drawing`, which an XML library wrote and escaped."""
    return Markup(svg)  # noqa: S704  (never a text that was put together here)


def link(path: str, **query: object) -> str:
    """A path with a query; what is None or empty is left out.

    >>> link("/bot", id="a/b c", page=None)
    '/bot?id=a%2Fb+c'
    """
    given = {name: str(value) for name, value in query.items() if value not in (None, "", False)}
    return f"{path}?{urlencode(given)}" if given else path


def bot_link(bot_id: str) -> str:
    """The page of a bot: ids may hold anything, so they stand in the query."""
    return link("/bot", id=bot_id)


_FILTERS: Final[Mapping[str, Callable[..., object]]] = {
    "ago": ago,
    "at": _at,
    "counted": counted,
    "duration": duration,
    "evidence": _evidence,
    "milliseconds": milliseconds,
    "number": _number,
    "percent": percent,
    "plain": _plain,
    "said": _said,
    "short": short,
    "span": span,
    "whole_ms": _whole_ms,
    "words": words,
}


def _environment() -> Environment:
    made = Environment(
        loader=PackageLoader("worker.web.pages", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    made.filters.update(_FILTERS)
    made.globals.update(
        asset=lambda name: ASSETS[name].path,
        bot_link=bot_link,
        link=link,
        token_mark=TOKEN_MARK,
        etag_mark=ETAG_MARK,
    )
    return made


_TEMPLATES: Final = _environment()


class Html:
    """A page as it is, but for the token of its forms, and the mark of what it shows."""

    def __init__(self, template: str, values: Mapping[str, Any]) -> None:
        self._text = _TEMPLATES.get_template(template).render(values)
        digest = hashlib.blake2b(self._text.encode("utf-8", "replace"), digest_size=12)
        self.etag = f'"{digest.hexdigest()}"'

    def sent(self, csrf_token: str) -> str:
        """What is sent, with the token of who asks."""
        marked = self._text.replace(ETAG_MARK, self.etag.strip('"'))
        return marked.replace(TOKEN_MARK, csrf_token)
