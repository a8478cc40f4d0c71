"""A bot's versions: list them, read one, write a corrected draft, publish it."""

from __future__ import annotations

import datetime as dt
import uuid
from dataclasses import dataclass
from http import HTTPStatus
from typing import Annotated, Any, Final

import msgspec
import sqlalchemy as sa
from litestar import Response, get, post
from litestar.openapi import ResponseSpec
from litestar.openapi.spec import (
    OpenAPIMediaType,
    OpenAPIType,
    Operation,
    RequestBody,
    Schema,
)
from litestar.params import HeaderParameter, JSONBody, PathParameter, QueryParameter, RawBody
from msgspec import Raw

from worker.core.codes import Issue, quote
from worker.core.workflow.draft_file import NO_DRAFT
from worker.db.versions import Version
from worker.errors import ChangedError, UsageError
from worker.runtime import Runtime
from worker.steps.publication.one_bot import publish_bot
from worker.steps.versions.archive import Archived, archive_version
from worker.steps.versions.draft import Written, draft_state, write_draft
from worker.steps.versions.listing import list_versions
from worker.steps.versions.read import Whole, read_version
from worker.steps.versions.restore import Restored, restore_version
from worker.web.api.values import BotId, IdempotencyKey, Reason
from worker.web.doors.people import Person
from worker.web.given import Current, Reading, Who
from worker.web.problems import Problem

TAGS = ["guide"]
DRAFT: Final = "draft"
"""The name of every draft; a path of its own, which comes before those with a version in them."""


class VersionView(msgspec.Struct, frozen=True, kw_only=True):
    """A version as the platform shows it; times are UTC."""

    id: uuid.UUID
    bot_id: str
    version: str
    status: str
    created_at: dt.datetime | None
    updated_at: dt.datetime | None
    published_at: dt.datetime | None


class WholeVersion(VersionView, frozen=True, kw_only=True):
    """A version with its graph and its variables, digit by digit as they are stored."""

    graph: Raw
    environment_variables: Raw
    conversation_variables: Raw


class WrittenDraft(VersionView, frozen=True, kw_only=True):
    """The draft after it was written. `note` says what a publication makes of it."""

    changed: bool
    note: str | None


class Refusal(msgspec.Struct, frozen=True):
    """Why a graph was refused: as the platform says it, and `issues` with codes and places."""

    message: str
    errors: tuple[str, ...]
    warnings: tuple[str, ...]
    issues: tuple[Issue, ...]


class RefusedGraph(msgspec.Struct, frozen=True):
    """The answer to a graph that does not pass the checklist; nothing was written."""

    detail: Refusal


class Publishing(msgspec.Struct, frozen=True, kw_only=True):
    """A publication of this one bot, which a worker that may publish carries out."""

    publication_id: int
    run_id: int | None
    bot_id: str
    version_id: uuid.UUID
    said: str


@dataclass
class TakesGraph(Operation):
    """The body of a request whose graph is read digit by digit, for the OpenAPI document."""

    def __post_init__(self) -> None:
        """Say what the body is."""
        graph = Schema(type=OpenAPIType.OBJECT, description="Nodes and edges, with their ports.")
        body = Schema(type=OpenAPIType.OBJECT, properties={"graph": graph}, required=["graph"])
        self.request_body = RequestBody(
            {"application/json": OpenAPIMediaType(schema=body)}, required=True
        )


VersionRef = Annotated[
    str,
    PathParameter(
        description="The version's id, or its name, such as `draft` or `v1.0`.",
        min_length=1,
        max_length=100,
    ),
]
IfMatch = Annotated[
    str | None,
    HeaderParameter(
        name="If-Match",
        description="The ETag of the draft that the graph was made from: it is written only if the draft "
        "is still that one. Without it, whatever the draft is now.",
    ),
]
LiveDrafts = Annotated[
    bool,
    QueryParameter(description="Write it also where the platform may serve the draft at once."),
]


@get("/bots/{bot_id:str}/workflow-versions", tags=TAGS, sync_to_thread=True)
def versions(bot_id: BotId, reading: Reading, current: Current) -> list[VersionView]:
    """List the versions of a bot: the draft first, then what is published, then the rest."""
    listed = list_versions(reading, bot_id, setting=current.settings.target)
    return [VersionView(**_fields(bot_id, one)) for one in listed.standing.versions]


@get(
    "/bots/{bot_id:str}/workflow-versions/{version_id:str}",
    tags=TAGS,
    sync_to_thread=True,
)
def version(bot_id: BotId, version_id: VersionRef, reading: Reading) -> Response[WholeVersion]:
    """One version with its graph and variables. Its ETag says which content it is."""
    return _shown(bot_id, read_version(reading, bot_id, version_id))


@get("/bots/{bot_id:str}/workflow-versions/draft", tags=TAGS, sync_to_thread=True)
def read_draft(bot_id: BotId, reading: Reading) -> Response[WholeVersion]:
    """The draft with its graph and variables. Its ETag is what If-Match takes."""
    return _shown(bot_id, read_version(reading, bot_id, DRAFT))


@post(
    "/bots/{bot_id:str}/workflow-versions/draft",
    tags=TAGS,
    sync_to_thread=True,
    status_code=HTTPStatus.OK,
    operation_class=TakesGraph,
    responses={
        400: ResponseSpec(
            RefusedGraph, generate_examples=False, description="the checklist found something wrong"
        ),
        412: ResponseSpec(
            Problem,
            generate_examples=False,
            description="the draft is not the one of If-Match any more",
        ),
    },
)
def draft(
    bot_id: BotId,
    reading: Reading,
    current: Current,
    who: Who,
    body: RawBody,
    if_match: IfMatch = None,
    live_drafts: LiveDrafts = False,
) -> Response[WrittenDraft | RefusedGraph]:
    """Write a corrected graph into the draft: a person's edit, which runs keep.

    Its variables stay as they are.
    """
    written = write_draft(
        current,
        bot_id,
        _graph(body),
        actor=who.name,
        state=_expected(reading, bot_id, if_match),
        live_drafts=live_drafts,
    )
    if written.issues:
        return Response(_refused(written), status_code=HTTPStatus.BAD_REQUEST)
    now = read_version(current.engine, bot_id, DRAFT).version
    view = WrittenDraft(**_fields(bot_id, now), changed=written.changed, note=written.note)
    return Response(view, headers={"ETag": _etag(written.state)})


@post(
    "/bots/{bot_id:str}/workflow-versions/{version_id:str}/publish",
    tags=TAGS,
    sync_to_thread=True,
    status_code=HTTPStatus.ACCEPTED,
)
def publish(
    bot_id: BotId,
    version_id: VersionRef,
    current: Current,
    who: Who,
    idempotency_key: IdempotencyKey = None,
) -> Response[Publishing]:
    """Publish a bot's draft: a publication of this bot alone, which a publisher's worker carries out.

    Refused with the code that keeps it out (`not_proven`, `draft_edited` ...). Its wave is watched by
    the gate as every other.
    """
    return _publish(current, bot_id, version_id, who, idempotency_key)


@post(
    "/bots/{bot_id:str}/workflow-versions/draft/publish",
    tags=TAGS,
    sync_to_thread=True,
    status_code=HTTPStatus.ACCEPTED,
)
def publish_draft(
    bot_id: BotId, current: Current, who: Who, idempotency_key: IdempotencyKey = None
) -> Response[Publishing]:
    """The same, for a client that does not know the draft's id."""
    return _publish(current, bot_id, DRAFT, who, idempotency_key)


@post(
    "/bots/{bot_id:str}/workflow-versions/{version_id:str}/restore",
    tags=TAGS,
    sync_to_thread=True,
    status_code=HTTPStatus.OK,
)
def restore(
    bot_id: BotId,
    version_id: VersionRef,
    current: Current,
    who: Who,
    live_drafts: LiveDrafts = False,
    data: JSONBody[Reason | None] = None,
) -> Restored:
    """Copy a version into the draft, its graph and its variables; the version stays as it is.

    A draft that a person made is kept first, as an archived version. Where the variables differ the
    server needs the right to write them, as `flowshift_publisher` has it.
    """
    return _restore(current, bot_id, version_id, who, data, live_drafts=live_drafts)


@post(
    "/bots/{bot_id:str}/workflow-versions/draft/restore",
    tags=TAGS,
    sync_to_thread=True,
    status_code=HTTPStatus.OK,
)
def restore_draft(
    bot_id: BotId, current: Current, who: Who, data: JSONBody[Reason | None] = None
) -> Restored:
    """The same of the draft by its name: it is the draft already, so that this is refused (409)."""
    return _restore(current, bot_id, DRAFT, who, data, live_drafts=False)


@post(
    "/bots/{bot_id:str}/workflow-versions/{version_id:str}/archive",
    tags=TAGS,
    sync_to_thread=True,
    status_code=HTTPStatus.OK,
)
def archive(
    bot_id: BotId,
    version_id: VersionRef,
    current: Current,
    who: Who,
    data: JSONBody[Reason | None] = None,
) -> Archived:
    """Archive a version: never the live one, the draft, or the only published one (409).

    This is no way back: a rollback lets V1 answer again. The server needs the right to change a
    version's status, as `flowshift_publisher` has it.
    """
    return _archive(current, bot_id, version_id, who, data)


@post(
    "/bots/{bot_id:str}/workflow-versions/draft/archive",
    tags=TAGS,
    sync_to_thread=True,
    status_code=HTTPStatus.OK,
)
def archive_draft(
    bot_id: BotId, current: Current, who: Who, data: JSONBody[Reason | None] = None
) -> Archived:
    """The same of the draft by its name: a draft stays one, so that this is refused (409)."""
    return _archive(current, bot_id, DRAFT, who, data)


def _restore(
    current: Runtime,
    bot_id: str,
    which: str,
    who: Person,
    data: Reason | None,
    *,
    live_drafts: bool,
) -> Restored:
    version = read_version(current.engine, bot_id, which).version
    return restore_version(
        current.engine,
        bot_id,
        version.version,
        actor=who.name,
        reason=None if data is None else data.reason,
        live_drafts=live_drafts,
    )


def _archive(
    current: Runtime, bot_id: str, which: str, who: Person, data: Reason | None
) -> Archived:
    version = read_version(current.engine, bot_id, which).version
    reason = None if data is None else data.reason
    return archive_version(current.engine, bot_id, version.version, actor=who.name, reason=reason)


def _publish(
    current: Runtime, bot_id: str, which: str, who: Person, request_id: str | None
) -> Response[Publishing]:
    going, version_id = publish_bot(current, bot_id, which, actor=who.name, request_id=request_id)
    view = Publishing(
        publication_id=going.publication_id,
        run_id=going.run_id,
        bot_id=bot_id,
        version_id=version_id,
        said=going.said,
    )
    return Response(view, headers={"Location": f"/api/v1/publications/{going.publication_id}"})


def _fields(bot_id: str, one: Version) -> dict[str, Any]:
    return {
        "id": one.version_id,
        "bot_id": bot_id,
        "version": one.version,
        "status": one.status,
        "created_at": one.created_at,
        "updated_at": one.updated_at,
        "published_at": one.published_at,
    }


def _shown(bot_id: str, found: Whole) -> Response[WholeVersion]:
    view = WholeVersion(
        **_fields(bot_id, found.version),
        graph=Raw(found.graph),
        environment_variables=Raw(found.environment_variables),
        conversation_variables=Raw(found.conversation_variables),
    )
    return Response(view, headers={"ETag": _etag(found.version.state)})


_VARIABLES = ("environment_variables", "conversation_variables")


def _etag(state: str) -> str:
    return f'"{state}"'


def _expected(reading: sa.Engine, bot_id: str, if_match: str | None) -> str:
    """The state that the draft must have: the one that the client names, else the one it has now."""
    if if_match is None or if_match.strip() == "*":
        now = draft_state(reading, bot_id)
        if if_match is not None and now == NO_DRAFT:
            raise ChangedError(
                f"bot {quote(bot_id)} has no draft, so that none matches If-Match: *"
            )
        return now
    return if_match.strip().removeprefix("W/").strip('"')


_keys = msgspec.json.Decoder(dict[str, Raw])


def _graph(body: bytes) -> bytes:
    """The graph in a body: its key `graph`, or the whole of it.

    What is no JSON object is left to the use case, which says so.

    Raises:
        UsageError: it brings variables, which are not written here.
    """
    try:
        keys = _keys.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return bytes(body)
    if "graph" not in keys or "nodes" in keys:
        return bytes(body)
    given = [name for name in _VARIABLES if bytes(keys.get(name, b"{}")).strip() not in _NONE]
    if given:
        raise UsageError(
            f"{given[0]} cannot be written here: the draft keeps its own; leave it out"
        )
    return bytes(keys["graph"])


_NONE = (b"{}", b"[]", b"null")


def _refused(written: Written) -> RefusedGraph:
    first = written.issues[0]
    said = f"the graph does not pass the checklist: {first.message}"
    errors = tuple(
        f"{one.path}: {one.message}" if one.path else one.message for one in written.issues
    )
    return RefusedGraph(Refusal(said, errors, (), written.issues))
