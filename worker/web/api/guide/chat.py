"""Try one bot's draft on a message."""

from __future__ import annotations

import uuid
from typing import Annotated

import msgspec
from litestar import post
from litestar.exceptions import PermissionDeniedException
from litestar.params import JSONBody
from msgspec import Meta

from worker.core.workflow.calls import NodeRecord
from worker.steps.try_bot import Tried, record_trial, try_on_echo
from worker.web.api.values import LONGEST_ID, NO_NUL, Message
from worker.web.doors.rights import FOR_VIEWERS
from worker.web.given import Current, Who

SessionId = Annotated[str, Meta(pattern=NO_NUL, min_length=1, max_length=LONGEST_ID)]


class Chat(msgspec.Struct, frozen=True):
    """A message for a bot. With `session_id` the execution is recorded under that session."""

    bot_id: Annotated[str, Meta(pattern=NO_NUL, min_length=1, max_length=LONGEST_ID)]
    message: Message
    session_id: SessionId | None = None


class ChatNode(msgspec.Struct, frozen=True, kw_only=True):
    """What one node did: `elapsed_time` in milliseconds, `elapsed_us` in microseconds."""

    node_id: str
    node_type: str
    execution_order: int
    status: str
    error_message: str | None
    elapsed_time: int
    elapsed_us: int
    tokens_used: int


class ChatAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """What the draft answered, and whether that is what V1 does.

    `execution_id` is null if nothing was recorded; `draft` is `converted` if the bot has no draft, and
    its V1 was converted for this message alone. `parity` is null if V1 gave no answer to compare with.
    """

    bot_id: str
    session_id: str | None
    execution_id: uuid.UUID | None
    draft: str
    status: str
    answer: str | None
    error: str | None
    elapsed_time: int
    elapsed_us: int
    total_tokens: int
    nodes: list[ChatNode]
    parity: bool | None
    difference: str | None


@post("/chat/test", tags=["guide"], sync_to_thread=True, status_code=200, opt=FOR_VIEWERS)
def chat(data: JSONBody[Chat], current: Current, who: Who) -> ChatAnswer:
    """Execute one bot's draft on a message, and V1 beside it. No model is asked: an echo answers.

    Without `session_id` nothing is written; with it, an operator's execution is recorded, if the draft
    is stored.
    """
    if data.session_id is not None and not who.may_act:
        raise PermissionDeniedException(
            f"{who.name} is a viewer: only an operator's execution is recorded; leave session_id out"
        )
    if data.session_id is None:
        return _answer(try_on_echo(current, data.bot_id, data.message), None, None)
    tried = try_on_echo(current, data.bot_id, data.message, data.session_id)
    recorded = record_trial(current.engine, tried, data.session_id)
    return _answer(tried, data.session_id, recorded)


def _answer(tried: Tried, session_id: str | None, recorded: uuid.UUID | None) -> ChatAnswer:
    trace, parity = tried.compared.v2, tried.compared.parity
    return ChatAnswer(
        bot_id=tried.bot_id,
        session_id=session_id,
        execution_id=recorded,
        draft=tried.draft,
        status="succeeded" if trace.error is None else "failed",
        answer=trace.answer,
        error=trace.error,
        elapsed_time=trace.elapsed_us // 1000,
        elapsed_us=trace.elapsed_us,
        total_tokens=trace.tokens,
        nodes=[_node(one) for one in trace.nodes],
        parity=parity.same,
        difference=parity.difference,
    )


def _node(one: NodeRecord) -> ChatNode:
    return ChatNode(
        node_id=one.node_id,
        node_type=one.type,
        execution_order=one.order,
        status=one.status,
        error_message=one.error,
        elapsed_time=one.elapsed_us // 1000,
        elapsed_us=one.elapsed_us,
        tokens_used=one.tokens,
    )
