"""A run as JSON has it: one model for `runs`, `status`, `migrate` and the others, and for HTTP."""

from __future__ import annotations

import datetime as dt

import msgspec

from worker.core.parity.overhead import Summary as Overhead
from worker.core.policy.progress import Progress
from worker.core.policy.states import RunKind, RunState
from worker.db.run_results import Failure
from worker.db.runs import Run, RunOptions
from worker.steps.report import RunReport


class RunView(msgspec.Struct, frozen=True, kw_only=True):
    """A run and how far it is; every field is always there, null where nothing can be said.

    `retry_of` and `validation_of` are the run whose bots it takes. Times are UTC, `elapsed_s` and
    `eta_s` seconds, `bots_per_s` bots a second. `options` is what was asked for.
    """

    run_id: int
    request_id: str
    kind: RunKind
    dry_run: bool
    retry_of: int | None
    validation_of: int | None
    state: RunState
    reason: str | None
    waiting: str | None
    requested_by: str
    created_at: dt.datetime
    started_at: dt.datetime | None
    finished_at: dt.datetime | None
    elapsed_s: float
    eta_s: float | None
    bots_per_s: float
    bots_total: int
    bots_done: int
    converted: int
    unchanged: int
    published: int
    rolled_back: int
    skipped: int
    failed: int
    validated: int
    warnings: int
    batches_total: int
    batches_done: int
    batches_failed: int
    version: int
    options: RunOptions


def run_view(run: Run, progress: Progress) -> RunView:
    """The view of a run."""
    is_retry = run.options.selection == "retry"
    return RunView(
        run_id=run.run_id,
        request_id=run.request_id,
        kind=run.kind,
        dry_run=run.dry_run,
        retry_of=run.parent_run_id if is_retry else None,
        validation_of=None if is_retry else run.parent_run_id,
        state=progress.state,
        reason=progress.reason,
        waiting=progress.waiting,
        requested_by=run.requested_by,
        created_at=run.created_at,
        started_at=run.started_at,
        finished_at=run.finished_at,
        elapsed_s=progress.elapsed_s,
        eta_s=None if progress.eta_s is None else round(progress.eta_s, 1),
        bots_per_s=progress.rate,
        bots_total=progress.bots_total,
        bots_done=progress.counts.bots,
        **msgspec.structs.asdict(progress.counts),
        batches_total=progress.batches_total,
        batches_done=progress.batches_done,
        batches_failed=progress.batches_failed,
        version=progress.version,
        options=run.options,
    )


class BatchFailure(msgspec.Struct, frozen=True):
    """A batch that failed as a whole."""

    batch: int
    error: str


class RunSummary(RunView, frozen=True, kw_only=True):
    """A run with what it came to: bots by `outcome:code`, failed bots, failed batches, V2's overhead."""

    codes: dict[str, int]
    failures: tuple[Failure, ...]
    batch_failures: tuple[BatchFailure, ...]
    overhead: Overhead | None


def run_summary(report: RunReport) -> RunSummary:
    """The summary of a run, with as many failures as were read."""
    return RunSummary(
        **msgspec.structs.asdict(run_view(report.run, report.progress)),
        codes=report.codes,
        failures=tuple(report.failures),
        batch_failures=tuple(BatchFailure(*one) for one in report.failed_batches),
        overhead=report.overhead,
    )
