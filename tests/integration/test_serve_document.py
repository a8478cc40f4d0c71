"""The OpenAPI document says what the server does: held against the real server by generated requests."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2 as httpx
import msgspec
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_schema_conformance,
    status_code_conformance,
)

from reference.openapi import openapi_document
from tests.fleet import Fleet, a_workflow
from tests.web import serving
from worker.runtime import Runtime

COMMITTED = Path(__file__).parents[2] / "docs" / "reference" / "openapi.json"
EXAMPLES = 3
"""Requests that are generated for each operation, about what is there."""

KNOWN = {"bot_id": "bot-1", "run_id": 1, "publication_id": 1, "wave": 1, "version_id": "draft"}

HELD = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
    negative_data_rejection,
]


@pytest.fixture
def client(current: Runtime) -> Iterator[httpx.Client]:
    current.settings = msgspec.structs.replace(current.settings, web_rate=0)
    with serving(current) as client:
        yield client


def test_the_document_is_the_one_that_is_committed(client: httpx.Client) -> None:
    served = client.get("/docs/openapi.json")

    assert served.json() == json.loads(COMMITTED.read_text()) == json.loads(openapi_document())


def test_the_page_has_every_request_and_loads_nothing_from_elsewhere(client: httpx.Client) -> None:
    page = client.get("/docs")
    style = client.get("/docs/style.css")

    assert page.headers["content-type"].startswith("text/html")
    for path in json.loads(COMMITTED.read_text())["paths"]:
        assert f"<code>{path}</code>" in page.text
    assert not re.findall(r"(?:src|href)=\"(?!/|#)", page.text)
    assert "<script" not in page.text
    assert "style=" not in page.text
    assert (style.status_code, style.headers["content-type"][:8]) == (200, "text/css")
    assert "url(" not in style.text


def test_generated_requests_are_answered_as_the_document_says(
    fleet: Fleet, client: httpx.Client
) -> None:
    fleet.add("bot-1", a_workflow())
    fleet.run(validate="all")
    bot = {"bot_ids": ["bot-1"], "confirm_bots": 1, "without_backup": True}
    assert client.post("/api/v1/publications", json=bot).status_code == 201
    schema = schemathesis.openapi.from_dict(client.get("/docs/openapi.json").json())
    base = str(client.base_url)
    tried = 0
    for found in schema.get_all_operations():
        assert isinstance(found, Ok), found
        operation = found.ok()

        @settings(
            max_examples=EXAMPLES,
            deadline=None,
            derandomize=True,
            database=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(case=operation.as_strategy())
        def agree(case: schemathesis.Case[Any]) -> None:
            if known := {name: KNOWN[name] for name in case.path_parameters if name in KNOWN}:
                case.path_parameters.update(known)
            answer = case.call(base_url=base)
            case.validate_response(answer, checks=HELD)

        agree()
        tried += 1
    assert tried > 25
