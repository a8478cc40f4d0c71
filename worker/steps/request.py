"""What a person asks for when a run is to be started, and whether it can be carried out."""

from __future__ import annotations

from typing import Final

import msgspec

from worker.core.policy.budget import Limits
from worker.core.policy.limits import check_limits
from worker.core.policy.states import RunKind
from worker.core.storable import INT8_MAX, unstorable
from worker.db.runs import ECHO, Provider, Selection
from worker.errors import UsageError

LONGEST_REQUEST_ID: Final = 500
"""In characters: an index holds it, which takes 2,700 bytes at most."""


class Request(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a person asks for: every field has a name in `flowshift migrate --help`.

    `bot_ids` None means the whole fleet. `retry_of` is a run whose failed bots are taken again, of
    one `code` and of `bot_ids` only where these are given; `of_run` one whose every bot is.

    `kind` is `convert`, or `validate` to execute the drafts that are there. `validate` says how
    many messages each bot is tried on (`none`, `sample:N`, `all`), out of `messages` or else the
    built-in ones; `provider` answers them, `live` within `budget`.

    `include_flagged` takes bots that are flagged V2 without a published version, too; a retry of
    such a run does so by itself.

    `max_rate` is in bots per second, `concurrency` in batches at once, `max_failures` a share from
    0 to 1. `allow_overlap` starts the run though an active one takes some of the same bots.
    """

    kind: RunKind = "convert"
    dry_run: bool = False
    bot_ids: tuple[str, ...] | None = None
    limit: int | None = None
    batch_size: int | None = None
    overwrite_edited: bool = False
    include_flagged: bool = False
    retry_of: int | None = None
    of_run: int | None = None
    code: str | None = None
    max_rate: float | None = None
    concurrency: int | None = None
    max_failures: float | None = None
    allow_overlap: bool = False
    validate: str | None = None
    messages: tuple[str, ...] = ()
    provider: Provider = ECHO
    budget: Limits | None = None

    @property
    def selection(self) -> Selection:
        """Which bots the run is over."""
        if self.retry_of is not None:
            return "retry"
        if self.of_run is not None:
            return "run"
        if self.bot_ids is not None:
            return "listed"
        return "all" if self.limit is None else "limit"


def check_request(request: Request, request_id: str) -> None:
    """Raise UsageError if a request contradicts itself, or holds what no column can hold."""
    _check(request)
    _check_storable(request, request_id)


def _check(request: Request) -> None:
    if request.limit is not None and request.limit < 1:
        raise UsageError(f"the limit must be at least 1 (it is {request.limit})")
    check_limits(
        batch_size=request.batch_size,
        max_rate=request.max_rate,
        concurrency=request.concurrency,
        max_failures=request.max_failures,
    )
    if request.limit is not None and request.bot_ids is not None:
        raise UsageError("give either a limit or bots, not both")
    if request.code is not None and request.retry_of is None:
        raise UsageError("a code can only be chosen when retrying a run")
    if request.of_run is not None and (request.bot_ids is not None or request.retry_of):
        raise UsageError("give either a run or bots, not both")
    if request.kind == "validate":
        _check_validation(request)
    elif request.provider != ECHO:
        raise UsageError(
            "a migration asks no model: validate its drafts afterwards, with a provider"
        )
    if (request.provider == ECHO) != (request.budget is None):
        raise UsageError("real models are asked within a budget, and only they need one")


def _check_storable(request: Request, request_id: str) -> None:
    """Refuse what the columns cannot hold, whoever wrote it."""
    named = {"retry": request.retry_of, "validate": request.of_run}
    for what, run_id in named.items():
        if run_id is not None and not 1 <= run_id <= INT8_MAX:
            raise UsageError(f"there is no run {run_id} to {what}: runs count from 1")
    if request.limit is not None and request.limit > INT8_MAX:
        raise UsageError(f"the limit must be at most {INT8_MAX:,} (it is {request.limit})")
    spent = () if request.budget is None else (request.budget.requests, request.budget.tokens)
    if any(one is not None and one > INT8_MAX for one in spent):
        raise UsageError(f"a budget is at most {INT8_MAX:,} requests or tokens")
    texts = (("bot id", request.bot_ids or ()), ("message", request.messages))
    for what, given in (*texts, ("code", (request.code or "",)), ("request id", (request_id,))):
        for text in given:
            if why := unstorable(text):
                raise UsageError(f"the {what} {text!r} cannot be kept: {why}")
    if not request_id or len(request_id) > LONGEST_REQUEST_ID:
        raise UsageError(f"a request id has 1 to {LONGEST_REQUEST_ID:,} characters")


def _check_validation(request: Request) -> None:
    if request.dry_run or request.overwrite_edited or request.include_flagged:
        raise UsageError("a validation writes no drafts: there is no dry run of it")
    if request.validate == "none":
        raise UsageError("a validation without messages would do nothing")
