"""A bot's executions: list them, and one with its nodes."""

from __future__ import annotations

import datetime as dt
import uuid
from typing import Annotated

import msgspec
from litestar import get
from litestar.params import PathParameter, QueryParameter
from msgspec import Raw

from worker.db.executions import Execution, NodeExecution
from worker.errors import NotFoundError
from worker.steps.executions import Recorded, page_of_bot, read_execution
from worker.web.api.values import BotId
from worker.web.given import Reading

TAGS = ["guide"]
NULL = Raw(b"null")


class ExecutionView(msgspec.Struct, frozen=True, kw_only=True):
    """An execution as the platform shows it; `elapsed_time` in milliseconds, times in UTC."""

    id: uuid.UUID
    bot_id: str
    session_id: str | None
    status: str
    error_message: str | None
    elapsed_time: int | None
    total_tokens: int | None
    total_steps: int | None
    created_at: dt.datetime


class NodeView(msgspec.Struct, frozen=True, kw_only=True):
    """What one node did. `elapsed_us` is finer than `elapsed_time` (ms) where the recorder kept it."""

    node_id: str
    node_type: str
    execution_order: int
    status: str
    error_message: str | None
    elapsed_time: int | None
    elapsed_us: int | None
    tokens_used: int | None
    is_truncated: bool
    truncated_fields: Raw
    inputs: Raw
    outputs: Raw


class WholeExecution(ExecutionView, frozen=True, kw_only=True):
    """An execution with its nodes, in the order in which they ran."""

    workflow_version_id: uuid.UUID | None
    version: str | None
    user_id: str | None
    inputs: Raw
    outputs: Raw
    started_at: dt.datetime | None
    finished_at: dt.datetime | None
    nodes: list[NodeView]


class ExecutionList(msgspec.Struct, frozen=True, kw_only=True):
    """A page of executions, the newest first.

    `total` counts at most 10,000: it is the least that there are where `total_is_at_least` is true.
    """

    items: list[ExecutionView]
    total: int
    total_is_at_least: bool
    limit: int
    offset: int


Offset = Annotated[int, QueryParameter(description="Pass so many over.", ge=0, le=10_000)]
PageSize = Annotated[int, QueryParameter(description="At most so many.", ge=1, le=100)]
ExecutionId = Annotated[uuid.UUID, PathParameter(description="The execution's id.")]


@get("/bots/{bot_id:str}/workflow-executions", tags=TAGS, sync_to_thread=True)
def executions(
    bot_id: BotId, reading: Reading, limit: PageSize = 10, offset: Offset = 0
) -> ExecutionList:
    """List the executions of a bot, the newest first: of real traffic and of runs."""
    page = page_of_bot(reading, bot_id, limit=limit, offset=offset)
    return ExecutionList(
        items=[execution_view(one) for one in page.items],
        total=page.total,
        total_is_at_least=page.is_at_least,
        limit=limit,
        offset=offset,
    )


@get("/bots/{bot_id:str}/workflow-executions/{execution_id:uuid}", tags=TAGS, sync_to_thread=True)
def execution(bot_id: BotId, execution_id: ExecutionId, reading: Reading) -> WholeExecution:
    """One execution with its nodes, in the order in which they ran."""
    found = read_execution(reading, str(execution_id))
    if found.whole.execution.bot_id != bot_id:
        raise NotFoundError(f"bot {bot_id!r} has no execution {execution_id}")
    return whole_execution(found)


def execution_view(one: Execution) -> ExecutionView:
    """An execution in the platform's names."""
    return ExecutionView(
        id=one.execution_id,
        bot_id=one.bot_id,
        session_id=one.session_id,
        status=one.status,
        error_message=one.error,
        elapsed_time=one.elapsed_ms,
        total_tokens=one.tokens,
        total_steps=one.steps,
        created_at=one.created_at,
    )


def whole_execution(found: Recorded) -> WholeExecution:
    """An execution whole, in the platform's names."""
    whole = found.whole
    return WholeExecution(
        **msgspec.structs.asdict(execution_view(whole.execution)),
        workflow_version_id=whole.version_id,
        version=whole.version,
        user_id=whole.user_id,
        inputs=_json(whole.inputs),
        outputs=_json(whole.outputs),
        started_at=whole.started_at,
        finished_at=whole.finished_at,
        nodes=[_node(one) for one in found.nodes],
    )


def _node(one: NodeExecution) -> NodeView:
    return NodeView(
        node_id=one.node_id,
        node_type=one.type,
        execution_order=one.order,
        status=one.status,
        error_message=one.error,
        elapsed_time=None if one.elapsed_us is None else one.elapsed_us // 1000,
        elapsed_us=one.elapsed_us,
        tokens_used=one.tokens,
        is_truncated=one.is_truncated,
        truncated_fields=_json(one.truncated),
        inputs=_json(one.inputs),
        outputs=_json(one.outputs),
    )


def _json(text: str | None) -> Raw:
    """JSON text as the JSON that it is, digit by digit."""
    return NULL if text is None else Raw(text.encode())
