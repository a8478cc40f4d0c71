"""The two renderings of the OpenAPI document: as JSON, and as a page without scripts."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from importlib.resources import files
from typing import Any, Final

import msgspec
from jinja2 import Environment, PackageLoader, StrictUndefined
from litestar import MediaType, Request, get
from litestar.openapi.config import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin, OpenAPIRenderPlugin

from worker import __version__
from worker.web.documentation.document import COMPONENTS, SECURITY, Json, document
from worker.web.pages.assets import ASSETS

PATH: Final = "/docs"
_PACKAGE: Final = "worker.web.documentation"


class AsJson(JsonRenderPlugin):
    """The document itself, for programs."""

    def render(self, request: Request[Any, Any, Any], openapi_schema: Json) -> bytes:
        """The document as JSON."""
        return self.render_json(request, document(openapi_schema))


class AsPage(OpenAPIRenderPlugin):
    """The document for people."""

    def render(self, request: Request[Any, Any, Any], openapi_schema: Json) -> bytes:  # noqa: ARG002
        """The page: every request by its room, and every shape."""
        shown = document(openapi_schema)
        said: str = _template().render(
            rooms=list(rooms(shown)),
            shapes=shapes(shown),
            icon=ASSETS["icon.svg"].path,
            colours=ASSETS["colours.css"].path,
        )
        return said.encode()


CONFIG: Final = OpenAPIConfig(
    title="flowshift",
    version=__version__,
    description="What `flowshift` does on the command line, for programs.",
    path=PATH,
    components=COMPONENTS,
    security=SECURITY,
    use_handler_docstrings=True,
    render_plugins=[AsPage(path="/"), AsJson(path="/openapi.json")],
)


@get(f"{PATH}/style.css", media_type=MediaType.CSS, include_in_schema=False, sync_to_thread=False)
def style() -> bytes:
    """How the page looks."""
    return files(_PACKAGE).joinpath("style.css").read_bytes()


@cache
def _template() -> Any:
    loader = PackageLoader(_PACKAGE, ".")
    made = Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    made.filters["shape"] = shape
    return made.get_template("page.html")


class Asked(msgspec.Struct, frozen=True):
    """One request on the page."""

    method: str
    path: str
    summary: str
    description: str
    parameters: list[Json]
    body: str
    answers: list[tuple[str, str, str]]


def rooms(shown: Json) -> Iterator[tuple[str, list[Asked]]]:
    """The requests by their tag, in the order of the document."""
    found: dict[str, list[Asked]] = {}
    for path, item in shown["paths"].items():
        for method, operation in item.items():
            if isinstance(operation, dict):
                room = operation.get("tags", ["other"])[0]
                found.setdefault(room, []).append(_asked(method, path, operation))
    yield from found.items()


def _asked(method: str, path: str, operation: Json) -> Asked:
    return Asked(
        method.upper(),
        path,
        operation["summary"],
        operation.get("description", ""),
        operation.get("parameters", []),
        _content(operation.get("requestBody", {})),
        [
            (status, one["description"], _content(one))
            for status, one in operation["responses"].items()
        ],
    )


def _content(part: Json) -> str:
    """What a body is, by its media types."""
    return ", ".join(
        f"{shape(one['schema'])} ({kind})" for kind, one in part.get("content", {}).items()
    )


def shapes(shown: Json) -> list[tuple[str, str, list[tuple[str, str, bool]]]]:
    """Every named shape: its name, what it is, and its fields with their types; True if one is needed."""
    return [
        (
            name,
            schema.get("description", ""),
            [
                (field, shape(one), field in schema.get("required", ()))
                for field, one in schema.get("properties", {}).items()
            ],
        )
        for name, schema in sorted(shown["components"]["schemas"].items())
    ]


def shape(schema: Json) -> str:
    """A type in words.

    >>> shape({"type": "array", "items": {"oneOf": [{"type": "integer"}, {"type": "null"}]}})
    'list of integer or null'
    >>> shape({"$ref": "#/components/schemas/RunView"})
    'RunView'
    """
    if "$ref" in schema:
        return str(schema["$ref"]).rpartition("/")[2]
    if "oneOf" in schema:
        return " or ".join(shape(one) for one in schema["oneOf"])
    if "enum" in schema:
        return " or ".join(str(one) for one in schema["enum"])
    if schema.get("type") == "array":
        return f"list of {shape(schema.get('items', {}))}"
    if isinstance(kinds := schema.get("type", "anything"), list):
        return " or ".join(kinds)
    return f"{kinds} ({schema['format']})" if "format" in schema else str(kinds)
