"""Whether a request for a run can be carried out."""

from __future__ import annotations

from typing import Final

from worker.core.codes import DIFFERENCE_CODES
from worker.core.policy.limits import check_limits
from worker.core.storable import INT8_MAX, unstorable
from worker.core.targets.detect import CHOICES, or_
from worker.db.runs import ECHO
from worker.errors import UsageError
from worker.steps import find
from worker.steps.batch.kinds import KINDS
from worker.steps.request import Request

LONGEST_REQUEST_ID: Final = 500
"""In characters: an index holds it, which takes 2,700 bytes at most."""


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
    if request.target is not None and request.target not in CHOICES:
        message = f"there is no target {request.target!r}: it is {or_(CHOICES)}"
        raise UsageError(message)
    if unknown := sorted(set(request.strict or ()) - set(DIFFERENCE_CODES)):
        raise UsageError(f"{unknown[0]} is no known difference: {or_(DIFFERENCE_CODES)}")
    if request.limit is not None and request.bot_ids is not None:
        raise UsageError("give either a limit or bots, not both")
    if request.code is not None and request.retry_of is None:
        raise UsageError("a code can only be chosen when retrying a run")
    if request.of_run is not None and (request.bot_ids is not None or request.retry_of):
        raise UsageError("give either a run or bots, not both")
    KINDS[request.kind].check(request)
    if (request.provider == ECHO) != (request.budget is None):
        raise UsageError("real models are asked within a budget, and only they need one")


def _check_storable(request: Request, request_id: str) -> None:
    """Refuse what the columns cannot hold, whatever wrote it."""
    named = {"retry": request.retry_of, "validate": request.of_run}
    for what, run_id in named.items():
        if run_id is not None and not 1 <= run_id <= INT8_MAX:
            raise UsageError(f"{find.no_run(run_id)} to {what}: runs count from 1")
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
