"""The OpenAPI document: what the framework makes of the handlers, with the answers that ours give."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from copy import deepcopy
from typing import Any, Final

from litestar.openapi.spec import Components, SecurityScheme

from worker.web.problems import MEDIA_TYPE, Problem

Json = dict[str, Any]

COMPONENTS: Final = Components(
    security_schemes={
        "password": SecurityScheme(type="http", scheme="basic"),
        "token": SecurityScheme(type="http", scheme="bearer"),
    }
)
SECURITY: Final[list[dict[str, list[str]]]] = [{}, {"password": []}, {"token": []}]
"""Nobody is asked on loopback without users; else one of the two."""

_PROBLEM: Final = {"schema": {"$ref": f"#/components/schemas/{Problem.__name__}"}}
_METHODS: Final = ("get", "post", "put", "patch", "delete")


def document(made: Mapping[str, Any]) -> Json:
    """The document as the framework made it, with what it cannot know.

    Errors are problem documents, whatever the framework says of them; a body that may be null may be
    left out; whole numbers have whole bounds.
    """
    found: Json = deepcopy(dict(made))
    found["components"].setdefault("schemas", {}).setdefault(Problem.__name__, _problem_schema())
    for operation in _operations(found):
        _say_problems(operation)
        _say_optional(operation)
        _say_summary(operation)
        for parameter in operation.get("parameters", ()):
            _say_whole(parameter["schema"])
    return found


def _operations(found: Json) -> Iterator[Json]:
    for item in found["paths"].values():
        yield from (item[method] for method in _METHODS if method in item)


def _say_problems(operation: Json) -> None:
    responses = operation["responses"]
    for status, response in responses.items():
        content = response.get("content", {})
        has_own = any("$ref" in one["schema"] for one in content.values())
        if status == "400" and has_own:
            content[MEDIA_TYPE] = _PROBLEM
        elif status >= "400":
            response["content"] = {MEDIA_TYPE: _PROBLEM}
    responses["default"] = {
        "description": "it was not done, and why",
        "content": {MEDIA_TYPE: _PROBLEM},
    }


def _say_optional(operation: Json) -> None:
    body = operation.get("requestBody")
    if body is None:
        return
    schemas = [content["schema"] for content in body["content"].values()]
    if any({"type": "null"} in schema.get("oneOf", ()) for schema in schemas):
        body["required"] = False


def _say_summary(operation: Json) -> None:
    """The first sentence of what a handler says of itself."""
    said = str(operation.get("description", ""))
    first = said.partition("\n")[0]
    operation["summary"] = first.partition(". ")[0].partition(": ")[0].rstrip(".")


def _say_whole(schema: Json) -> None:
    for part in (schema, *schema.get("oneOf", ())):
        if part.get("type") == "integer":
            for bound in ("minimum", "maximum"):
                if bound in part:
                    part[bound] = int(part[bound])


def _problem_schema() -> Json:
    text = {"type": "string"}
    return {
        "title": Problem.__name__,
        "description": "What went wrong (RFC 9457). `code` stays as it is.",
        "type": "object",
        "required": ["type", "title", "status", "detail", "code"],
        "properties": {
            **dict.fromkeys(("type", "title", "detail", "code"), text),
            "status": {"type": "integer"},
            "errors": {"type": "array", "items": text},
        },
    }
