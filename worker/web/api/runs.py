"""Runs: start, list, follow, control, and what failed in one."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

import msgspec
from litestar import Response, get, post
from litestar.params import JSONBody, QueryParameter
from litestar.response import Stream

from worker.app import app
from worker.core.codes import WarningCode
from worker.db.outcomes import Found
from worker.db.runs import ECHO, Run
from worker.errors import UsageError
from worker.queue.dispatch import CeleryQueue
from worker.runtime import Runtime
from worker.steps import control
from worker.steps.outcomes import FailedPage, failed_pages, page_of_failures
from worker.steps.report import newest_runs, report_run
from worker.steps.request import Request
from worker.steps.run_view import RunSummary, RunView, run_summary, run_view
from worker.steps.start import start_run
from worker.steps.tuning import Tuning
from worker.web.api.values import MOST, IdempotencyKey, Limit, Reason, RunId
from worker.web.doors.people import Person
from worker.web.given import Current, Reading, Who

TAGS = ["runs"]
FAILURES_SHOWN = 20
"""So many failed bots are in the summary of a run; its failures have a list of their own."""

Before = Annotated[
    int | None, QueryParameter(description="Only runs with a lower number.", ge=1, le=MOST)
]
Code = Annotated[
    str | None, QueryParameter(description="Only bots with this code.", min_length=1, max_length=64)
]
After = Annotated[
    str | None,
    QueryParameter(
        description="Go on after this: the `next` of the page before.",
        pattern="^[a-z_0-9]{1,64}/.{1,255}$",
    ),
]


class Changed(msgspec.Struct, frozen=True):
    """The run after an action; `changed` is false if it was so before."""

    changed: bool
    run: RunView


class Retry(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which failed bots of a run are taken again, and its limits."""

    code: str | None = None
    bot_ids: tuple[str, ...] | None = None
    batch_size: int | None = None
    max_rate: float | None = None
    concurrency: int | None = None
    max_failures: float | None = None
    allow_overlap: bool = False
    target: str | None = None
    strict: tuple[WarningCode, ...] | None = None


class Tuned(msgspec.Struct, frozen=True):
    """What changed of a run's limits: the value before and after of each; null is no limit."""

    run_id: int
    changed: dict[str, tuple[float | None, float | None]]


@get("/runs", tags=TAGS, sync_to_thread=True)
def runs(reading: Reading, limit: Limit = 20, before: Before = None) -> list[RunView]:
    """List runs, the newest first. The next page is `before` the last one's number."""
    return [run_view(*entry) for entry in newest_runs(reading, limit, before=before)]


@post("/runs", tags=TAGS, sync_to_thread=True)
def start(
    data: JSONBody[Request], current: Current, who: Who, idempotency_key: IdempotencyKey = None
) -> Response[RunView]:
    """Start a run: what `flowshift migrate` and `validate` do. Workers plan it."""
    return _start(current, data, who, idempotency_key)


@get("/runs/{run_id:int}", tags=TAGS, sync_to_thread=True)
def run(run_id: RunId, reading: Reading) -> RunSummary:
    """One run: how far it is, and what it came to, with its first 20 failed bots."""
    return run_summary(report_run(reading, run_id, most_failures=FAILURES_SHOWN))


@post("/runs/{run_id:int}/pause", tags=TAGS, sync_to_thread=True, status_code=200)
def pause(
    run_id: RunId, current: Current, who: Who, data: JSONBody[Reason | None] = None
) -> Changed:
    """Pause a run: batches that a worker has end, no other begins."""
    changed = control.pause_run(current, run_id, actor=who.name, reason=_reason(data))
    return _changed(current, run_id, changed=changed)


@post("/runs/{run_id:int}/resume", tags=TAGS, sync_to_thread=True, status_code=200)
def resume(
    run_id: RunId, current: Current, who: Who, data: JSONBody[Reason | None] = None
) -> Changed:
    """Let a paused run continue."""
    queue = CeleryQueue(app)
    changed = control.resume_run(current, queue, run_id, actor=who.name, reason=_reason(data))
    return _changed(current, run_id, changed=changed)


@post("/runs/{run_id:int}/cancel", tags=TAGS, sync_to_thread=True, status_code=200)
def cancel(
    run_id: RunId, current: Current, who: Who, data: JSONBody[Reason | None] = None
) -> Changed:
    """End a run for good. Bots that are converted stay converted."""
    changed = control.cancel_run(current, run_id, actor=who.name, reason=_reason(data))
    return _changed(current, run_id, changed=changed)


@post("/runs/{run_id:int}/tune", tags=TAGS, sync_to_thread=True, status_code=200)
def tune(run_id: RunId, data: JSONBody[Tuning], current: Current, who: Who) -> Tuned:
    """Change the limits of an active run. What is left out stays; null removes a limit."""
    changed = control.tune_run(current, CeleryQueue(app), run_id, data, actor=who.name)
    return Tuned(run_id, {name: (old, new) for name, (old, new) in changed.items()})


@post("/runs/{run_id:int}/retry", tags=TAGS, sync_to_thread=True)
def retry(
    run_id: RunId,
    current: Current,
    who: Who,
    data: JSONBody[Retry | None] = None,
    idempotency_key: IdempotencyKey = None,
) -> Response[RunView]:
    """Start a new run over the bots that failed in a run: all, those of one code, or chosen ones."""
    request = Request(retry_of=run_id, **msgspec.structs.asdict(data or Retry()))
    return _start(current, request, who, idempotency_key)


@get("/runs/{run_id:int}/failures", tags=TAGS, sync_to_thread=True)
def failures(
    run_id: RunId, reading: Reading, limit: Limit = 100, code: Code = None, after: After = None
) -> FailedPage:
    """List the bots that failed in a run, by code and bot, a page at a time."""
    return page_of_failures(reading, run_id, limit=limit, code=code, after=after)


@get(
    "/runs/{run_id:int}/failures.ndjson",
    tags=TAGS,
    sync_to_thread=True,
    media_type="application/x-ndjson",
)
def failures_stream(run_id: RunId, reading: Reading, code: Code = None) -> Stream:
    """All of them as lines of JSON, as they are read: for `curl`, `jq` and files."""
    pages = failed_pages(reading, run_id, code=code)
    return Stream(_lines(pages), media_type="application/x-ndjson")


def _lines(pages: Iterator[tuple[Found, ...]]) -> Iterator[bytes]:
    encoder = msgspec.json.Encoder()
    for page in pages:
        yield encoder.encode_lines(page)


def _start(
    current: Runtime, request: Request, who: Person, request_id: str | None
) -> Response[RunView]:
    if request.provider != ECHO and current.live is None:
        raise UsageError("no model can be asked from here: FLOWSHIFT_PROVIDERS names no file")
    started: Run = start_run(
        current, CeleryQueue(app), request, request_id=request_id, requested_by=who.name
    )
    view = _view(current, started.run_id)
    return Response(view, headers={"Location": f"/api/v1/runs/{started.run_id}"})


def _view(current: Runtime, run_id: int) -> RunView:
    report = report_run(current.engine, run_id, most_failures=0)
    return run_view(report.run, report.progress)


def _changed(current: Runtime, run_id: int, *, changed: bool) -> Changed:
    return Changed(changed, _view(current, run_id))


def _reason(data: Reason | None) -> str | None:
    return None if data is None else data.reason
