"""Publish bots anew that a publication took back: look first, then say how many they are."""

from __future__ import annotations

import uuid
from typing import Annotated

import msgspec
from litestar import Response, post
from litestar.openapi import ResponseSpec
from litestar.params import JSONBody
from msgspec import Meta

from worker.app import app
from worker.core.codes import WarningCode
from worker.core.counted import counted
from worker.core.publication.sizes import DEFAULT_WAVES
from worker.errors import UsageError
from worker.queue.dispatch import CeleryQueue
from worker.steps import retry_publication as step
from worker.steps.request import Request
from worker.steps.retry_publication import Again, Retried
from worker.web.api.publications import BotIds
from worker.web.api.values import IdempotencyKey, PublicationId, Text
from worker.web.given import Current, Who


class PublishAnew(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which bots of a publication are published anew, as the options of `flowshift retry --publication`.

    Those that were rolled back, quarantined or failed; with `code` those that it skipped or failed
    with it; of `bot_ids` only, if given. `confirm_bots` is their number, as a dry run says it.
    """

    code: Text | None = None
    bot_ids: Annotated[BotIds, Meta(min_length=1)] | None = None
    waves: Text = DEFAULT_WAVES
    publish_edited: bool = False
    without_backup: bool = False
    max_rate: float | None = None
    concurrency: int | None = None
    max_failures: float | None = None
    allow_overlap: bool = False
    target: Text | None = None
    strict: tuple[WarningCode, ...] | None = None
    dry_run: bool = False
    confirm_bots: int | None = None


class RetryPlan(msgspec.Struct, frozen=True, kw_only=True):
    """How many bots would be converted, proven and published anew, and what became of them before."""

    publication_id: int
    bots: int
    states: dict[str, int]


@post(
    "/publications/{publication_id:int}/retry",
    tags=["publications"],
    sync_to_thread=True,
    responses={
        200: ResponseSpec(
            RetryPlan, generate_examples=False, description="what would be published anew"
        )
    },
)
def retry_publication(
    publication_id: PublicationId,
    data: JSONBody[PublishAnew],
    current: Current,
    who: Who,
    idempotency_key: IdempotencyKey = None,
) -> Response[Retried | RetryPlan]:
    """Convert, prove and publish what a publication took back, or with `dry_run` only count it.

    The conversion is a run; the new publication waits for it and begins with one bot. `confirm_bots`
    must be the number of bots (422); if it has changed by the time it is recorded, nothing is (412).
    """
    again = _again(publication_id, data)
    if idempotency_key is not None and not data.dry_run:
        known = step.of_request(current.engine, again, idempotency_key)
        if known is not None:
            return _answer(known)
    states = step.look(current, again)
    bots = sum(states.values())
    if data.dry_run:
        plan = RetryPlan(publication_id=publication_id, bots=bots, states=dict(states))
        return Response(plan, status_code=200)
    if data.confirm_bots != bots:
        raise UsageError(
            f"{counted(bots, 'bot is', 'bots are')} to be converted, proven and published anew: nothing"
            f" was started; to start it, say confirm_bots: {bots}"
        )
    made = step.retry(
        current,
        CeleryQueue(app),
        again,
        request_id=idempotency_key or str(uuid.uuid4()),
        actor=who.name,
        confirmed=bots,
    )
    return _answer(made)


def _again(publication_id: int, data: PublishAnew) -> Again:
    return Again(
        publication_id=publication_id,
        code=data.code,
        bot_ids=data.bot_ids,
        waves=data.waves,
        publish_edited=data.publish_edited,
        without_backup=data.without_backup,
        request=Request(
            max_rate=data.max_rate,
            concurrency=data.concurrency,
            max_failures=data.max_failures,
            allow_overlap=data.allow_overlap,
            target=data.target,
            strict=data.strict,
        ),
    )


def _answer(made: Retried) -> Response[Retried | RetryPlan]:
    at = f"/api/v1/publications/{made.publication_id}"
    return Response(made, headers={"Location": at})
