"""Errors as HTTP says them: RFC 9457 problem documents with codes of ours."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any, Final

import msgspec
from litestar import Request, Response
from litestar.exceptions import HTTPException, ValidationException
from litestar.types import ExceptionHandlersMap

from worker.errors import (
    BotError,
    ChangedError,
    ConfigError,
    ConflictError,
    FlowshiftError,
    NotFoundError,
    TransientError,
    UsageError,
)
from worker.log import get_logger, hide_credentials

log = get_logger(__name__)

MEDIA_TYPE: Final = "application/problem+json"
RETRY_S: Final = 5

AnyRequest = Request[Any, Any, Any]


class Problem(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What went wrong (RFC 9457). `code` is one of ours, stable; `errors` says which value is wrong."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    errors: tuple[str, ...] = ()


def problem(
    status: int,
    code: str,
    detail: str,
    *,
    errors: tuple[str, ...] = (),
    headers: dict[str, str] | None = None,
) -> Response[Problem]:
    """The answer to a request that was not carried out."""
    said = Problem(
        type="about:blank",
        title=HTTPStatus(status).phrase,
        status=status,
        detail=hide_credentials(detail),
        code=code,
        errors=errors,
    )
    return Response(said, status_code=status, media_type=MEDIA_TYPE, headers=headers)


_OF_OURS: Final[tuple[tuple[type[FlowshiftError], int, str], ...]] = (
    (NotFoundError, HTTPStatus.NOT_FOUND, "not_found"),
    (ConflictError, HTTPStatus.CONFLICT, "conflict"),
    (ChangedError, HTTPStatus.PRECONDITION_FAILED, "changed"),
    (UsageError, HTTPStatus.UNPROCESSABLE_ENTITY, "not_possible"),
    (TransientError, HTTPStatus.SERVICE_UNAVAILABLE, "unavailable"),
    (ConfigError, HTTPStatus.INTERNAL_SERVER_ERROR, "not_configured"),
)
"""The first family that an error belongs to says its status and its code."""


def of_ours(_: AnyRequest, error: FlowshiftError) -> Response[Problem]:
    """The problem of an error of ours, by its family."""
    if isinstance(error, BotError):
        return problem(HTTPStatus.UNPROCESSABLE_ENTITY, error.code, str(error))
    for family, status, code in _OF_OURS:
        if isinstance(error, family):
            again = {"Retry-After": str(RETRY_S)} if family is TransientError else None
            return problem(status, code, str(error), headers=again)
    return problem(HTTPStatus.INTERNAL_SERVER_ERROR, "failed", str(error))


def of_http(_: AnyRequest, error: HTTPException) -> Response[Problem]:
    """The problem of a request that the framework refuses."""
    status = HTTPStatus(error.status_code)
    code = "invalid_request" if status == HTTPStatus.BAD_REQUEST else status.name.lower()
    listed = error.extra if isinstance(error, ValidationException) else None
    errors = tuple(_line(one) for one in listed) if isinstance(listed, list) else ()
    return problem(status, code, error.detail, errors=errors, headers=error.headers)


def _line(one: Any) -> str:
    if isinstance(one, dict):
        return ": ".join(str(one[key]) for key in ("key", "message") if one.get(key))
    return str(one)


def of_us(request: AnyRequest, error: Exception) -> Response[Problem]:
    """The problem of an error that none expected: it is logged whole, and said briefly."""
    log.error("request.crashed", method=request.method, path=request.url.path, exc_info=error)
    detail = "an unexpected error: the log of flowshift serve has it (request.crashed)"
    return problem(HTTPStatus.INTERNAL_SERVER_ERROR, "internal_error", detail)


HANDLERS: Final[ExceptionHandlersMap] = {
    FlowshiftError: of_ours,
    HTTPException: of_http,
    Exception: of_us,
}
