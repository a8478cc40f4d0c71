"""What every page needs: who asks, the token of its forms, where it is, and how it is answered."""

from __future__ import annotations

import secrets
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from http import HTTPStatus
from typing import Any, TypeAlias

from litestar import MediaType, Request, Response
from litestar.di import NamedDependency
from litestar.response import Redirect, Stream

from worker import __version__
from worker.processes.flower_program import tasks_page
from worker.runtime import Runtime
from worker.web.doors.people import Person
from worker.web.given import CsrfToken, Current, Who
from worker.web.pages.rendering import Html

AnyRequest = Request[Any, Any, Any]


class Shell:
    """One request for a page."""

    def __init__(self, request: AnyRequest, current: Runtime, who: Person, csrf_token: str) -> None:
        self._request = request
        self._token = csrf_token
        self.current = current
        self.who = who

    def page(
        self, template: str, *, status: int = HTTPStatus.OK, refresh_s: int = 0, **values: Any
    ) -> Response[str]:
        """The page, or 304 where the browser has just this one; `refresh_s` is how often it asks again."""
        html = Html(template, {**self._common(refresh_s), **values})
        headers = {"ETag": html.etag}
        is_same = self._request.headers.get("if-none-match") == html.etag
        if is_same and status == HTTPStatus.OK:
            return Response("", status_code=HTTPStatus.NOT_MODIFIED, headers=headers)
        content = html.sent(self._token)
        return Response(content, status_code=status, media_type=MediaType.HTML, headers=headers)

    def streamed(self, template: str, pieces: AsyncGenerator[str, None], **values: Any) -> Stream:
        """A page that is sent as it is made: its template says where `pieces` go by `streamed`."""
        mark = f"streamed-{secrets.token_hex(8)}"
        whole = Html(template, {**self._common(0), **values, "streamed": mark}).sent(self._token)
        head, _, tail = whole.partition(mark)

        async def sent() -> AsyncIterator[str]:
            yield head
            async with aclosing(pieces):
                async for piece in pieces:
                    yield piece
            yield tail

        # A proxy in front would else keep it until it is whole.
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        return Stream(sent(), media_type=MediaType.HTML, headers=headers)

    def part(self, template: str, **values: Any) -> str:
        """A part of a page that is streamed."""
        return Html(template, {**self._common(0), **values}).sent(self._token)

    def _common(self, refresh_s: int) -> dict[str, Any]:
        settings = self.current.settings
        return {
            "who": self.who,
            "path": self._request.url.path,
            "refresh_s": refresh_s,
            "flower": tasks_page(self.current.settings),
            "version": __version__,
            "namespace": settings.namespace,
        }


def give_shell(request: AnyRequest, current: Current, who: Who, csrf_token: CsrfToken) -> Shell:
    """The shell of a request."""
    return Shell(request, current, who, csrf_token)


def see_other(path: str) -> Redirect:
    """After a form: look at the page, so that loading it again sends nothing again."""
    return Redirect(path, status_code=303)


PageShell: TypeAlias = NamedDependency[Shell]
"""`shell`: what a handler of a page answers with."""
