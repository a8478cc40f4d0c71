"""Errors as pages: for who asked for one; programs get the problem document."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any, Final

import msgspec
from litestar import Request, Response
from litestar.exceptions import HTTPException
from litestar.types import ExceptionHandlersMap

from worker.errors import FlowshiftError
from worker.web import problems
from worker.web.pages.rendering import Html
from worker.web.problems import Problem

AnyRequest = Request[Any, Any, Any]


def of_ours(request: AnyRequest, error: FlowshiftError) -> Response[Any]:
    """An error of ours."""
    return _page(request, problems.of_ours(request, error))


def of_http(request: AnyRequest, error: HTTPException) -> Response[Any]:
    """A request that the framework refuses."""
    return _page(request, problems.of_http(request, error))


def of_us(request: AnyRequest, error: Exception) -> Response[Any]:
    """An error that none expected."""
    return _page(request, problems.of_us(request, error))


HANDLERS: Final[ExceptionHandlersMap] = {
    FlowshiftError: of_ours,
    HTTPException: of_http,
    Exception: of_us,
}


def _page(request: AnyRequest, answer: Response[Problem]) -> Response[Any]:
    """The same as a page, if a browser asks for one: what is for programs answers them alike."""
    is_for_programs = request.url.path.startswith("/api/")
    if is_for_programs or "text/html" not in request.headers.get("accept", ""):
        return answer
    said: Problem = answer.content
    detail = "\n".join((said.detail, *said.errors))
    html = Html("problem.html", {"title": said.title, "detail": detail, **_FRAME, **_who(request)})
    return Response(
        html.sent(""),
        status_code=HTTPStatus(said.status),
        media_type="text/html",
        headers={key: value for key, value in answer.headers.items() if key != "content-type"},
    )


_FRAME: Final = {"refresh_s": 0, "flower": None, "version": "", "namespace": ""}


def _who(request: AnyRequest) -> dict[str, Any]:
    person = request.scope.get("user")
    known = person if isinstance(person, msgspec.Struct) else None
    return {"path": request.url.path, "who": known or {"name": "–", "role": "–"}}
