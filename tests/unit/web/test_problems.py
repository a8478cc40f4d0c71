"""Errors as problem documents: each family has its status and its code, and no secret is in one."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest
from litestar.exceptions import (
    MethodNotAllowedException,
    NotFoundException,
    ValidationException,
)
from structlog.testing import capture_logs

from worker import errors
from worker.errors import FlowshiftError
from worker.web.problems import HANDLERS, MEDIA_TYPE, of_http, of_ours, of_us

REQUEST = cast("Any", SimpleNamespace(method="GET", url=SimpleNamespace(path="/api/v1/runs")))


def families(root: type[FlowshiftError] = FlowshiftError) -> set[type[FlowshiftError]]:
    below = (families(one) for one in root.__subclasses__() if one.__module__ == errors.__name__)
    return {root}.union(*below)


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (errors.NotFoundError("x"), 404, "not_found"),
        (errors.ConflictError("x"), 409, "conflict"),
        (errors.ChangedError("x"), 412, "changed"),
        (errors.UsageError("x"), 422, "not_possible"),
        (errors.BotError("not_proven", "x"), 422, "not_proven"),
        (errors.TransientError("x"), 503, "unavailable"),
        (errors.LockedError("x"), 503, "unavailable"),
        (errors.SlowError("x"), 503, "unavailable"),
        (errors.QueueAwayError("x"), 503, "unavailable"),
        (errors.ConfigError("x"), 500, "not_configured"),
        (errors.StaleError("x"), 500, "failed"),
    ],
)
def test_each_family_of_errors_has_its_status_and_its_code(
    error: FlowshiftError, status: int, code: str
) -> None:
    answer = of_ours(REQUEST, error)

    assert (answer.status_code, answer.content.status) == (status, status)
    assert answer.content.code == code
    assert answer.content.detail == str(error)
    assert answer.media_type == MEDIA_TYPE == "application/problem+json"
    assert answer.headers.get("Retry-After") == ("5" if status == 503 else None)


def test_every_refusal_of_a_request_is_a_status_of_its_own() -> None:
    refusals = {errors.NotFoundError, errors.ConflictError, errors.ChangedError, errors.UsageError}

    assert {one for one in families() if issubclass(one, errors.UsageError)} == refusals
    assert len({of_ours(REQUEST, one("x")).status_code for one in refusals}) == 4


def test_what_the_framework_refuses_has_a_code_and_says_which_value() -> None:
    listed = [{"key": "limit", "message": "Expected `int` <= 1000"}, {"message": "odd"}, "text"]
    invalid = of_http(REQUEST, ValidationException("no", extra=cast("Any", listed)))
    others = [of_http(REQUEST, one()) for one in (NotFoundException, MethodNotAllowedException)]

    assert (invalid.status_code, invalid.content.code) == (400, "invalid_request")
    assert invalid.content.errors == ("limit: Expected `int` <= 1000", "odd", "text")
    assert [(one.status_code, one.content.code) for one in others] == [
        (404, "not_found"),
        (405, "method_not_allowed"),
    ]


def test_an_unexpected_error_is_logged_whole_and_said_briefly() -> None:
    error = ZeroDivisionError("secret")
    with capture_logs() as logged:
        answer = of_us(REQUEST, error)

    assert (answer.status_code, answer.content.code) == (500, "internal_error")
    assert "secret" not in answer.content.detail
    [line] = logged
    assert (line["event"], line["path"]) == ("request.crashed", "/api/v1/runs")
    assert line["exc_info"] is error


def test_no_credentials_are_in_a_problem() -> None:
    answer = of_ours(REQUEST, errors.UsageError("postgresql://ann:tea@db/x does not answer"))

    assert "tea" not in answer.content.detail
    assert "db/x does not answer" in answer.content.detail


def test_each_handler_is_for_its_family() -> None:
    assert set(HANDLERS.values()) == {of_ours, of_http, of_us}
    assert HANDLERS[FlowshiftError] is of_ours
