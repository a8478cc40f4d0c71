"""Roll back by workers: look first, then say how many bots go back."""

from __future__ import annotations

import uuid
from http import HTTPStatus
from typing import Annotated

import msgspec
from litestar import Response, post
from litestar.openapi import ResponseSpec
from litestar.params import JSONBody
from msgspec import Meta

from worker.app import app
from worker.db.publication.rolling import Which
from worker.errors import UsageError
from worker.queue.dispatch import CeleryQueue
from worker.runtime import Runtime
from worker.steps.enqueue import top_up
from worker.steps.publication import detached
from worker.steps.publication.rollback import Look, look, need_plan
from worker.steps.publication.rollback_view import RollbackView, rollback_view
from worker.web.api.publications import BotIds
from worker.web.api.values import MOST, MOST_WAVES, IdempotencyKey, Text
from worker.web.doors.people import Person
from worker.web.given import Current, Who


class RollBack(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What goes back to V1, as the options of `flowshift rollback`: one of the first three.

    With `plan`, the digest of a preview, nothing is done if anything has changed since. `confirm_bots`
    is the number of bots on which V1 answers again, as a dry run says it (`preview.returns.bots`).
    """

    bot_ids: Annotated[BotIds, Meta(min_length=1)] | None = None
    publication_id: Annotated[int, Meta(ge=1, le=MOST)] | None = None
    all: bool = False
    wave: Annotated[int, Meta(ge=1, le=MOST_WAVES)] | None = None
    dry_run: bool = False
    plan: Text | None = None
    confirm_bots: int | None = None
    reason: Text | None = None


class RollingBack(msgspec.Struct, frozen=True, kw_only=True):
    """The runs by which workers roll back; follow each as every run."""

    runs: list[int]


@post(
    "/rollbacks",
    tags=["publications"],
    sync_to_thread=True,
    status_code=HTTPStatus.ACCEPTED,
    responses={
        200: ResponseSpec(
            RollbackView, generate_examples=False, description="what a rollback would do now"
        )
    },
)
def roll_back(
    data: JSONBody[RollBack], current: Current, who: Who, idempotency_key: IdempotencyKey = None
) -> Response[RollbackView | RollingBack]:
    """Let V1 answer again, or with `dry_run` only say what would happen.

    Workers that may publish do it, as a run for each publication. Where no version of ours is live there
    is nothing to do, and the answer is that of a dry run.
    """
    which = _which(data)
    if idempotency_key is not None and not data.dry_run:
        known = detached.of_request(current.engine, which, idempotency_key)
        if known:
            return _answer([one.run_id for one in known])
    seen = look(current, which)
    if data.dry_run or not seen.publication_ids:
        return Response(rollback_view(seen, dry_run=data.dry_run), status_code=HTTPStatus.OK)
    return _answer(_begin(current, which, data, seen, who, idempotency_key))


def _which(data: RollBack) -> Which:
    if sum((data.bot_ids is not None, data.publication_id is not None, data.all)) != 1:
        raise UsageError("say what to roll back: bot_ids, publication_id or all, one of them")
    if data.wave is not None and data.publication_id is None:
        raise UsageError("wave is a wave of a publication: say publication_id too")
    bot_ids = None if data.bot_ids is None else tuple(dict.fromkeys(data.bot_ids))
    return Which(bot_ids=bot_ids, publication_id=data.publication_id, wave=data.wave)


def _begin(
    current: Runtime, which: Which, data: RollBack, seen: Look, who: Person, key: str | None
) -> list[int]:
    need_plan(seen, data.plan)
    bots = seen.preview.returns.bots
    if data.confirm_bots != bots:
        raise UsageError(
            f"V1 would answer again on {bots:,} bots: nothing was changed; to do it, say confirm_bots:"
            f" {bots}"
        )
    found = detached.detach(
        current,
        which,
        digest=data.plan,
        actor=who.name,
        reason=data.reason,
        request_id=key or str(uuid.uuid4()),
    )
    run_ids = [one.run_id for one in found if one.run_id is not None]
    for run_id in run_ids:
        window = current.settings.batch_window
        top_up(current.engine, CeleryQueue(app), run_id, window=window)
    return run_ids


def _answer(run_ids: list[int]) -> Response[RollbackView | RollingBack]:
    first = {"Location": f"/api/v1/runs/{run_ids[0]}"} if run_ids else {}
    return Response(RollingBack(runs=run_ids), status_code=HTTPStatus.ACCEPTED, headers=first)
