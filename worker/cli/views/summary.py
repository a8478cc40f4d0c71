"""What a run came to: by outcome, by code, its failures, and how its drafts compare with V1."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import msgspec

from worker.cli.printing import Console, Table, Text
from worker.cli.views.target import print_target
from worker.core.counted import counted
from worker.core.parity.overhead import Summary as Overhead
from worker.core.policy.progress import Progress, label
from worker.core.targets.detect import Choice
from worker.core.units import duration, span
from worker.db.run_results import Failure, OutcomeRow
from worker.db.runs import RunOptions
from worker.steps.batch.kind import Kind
from worker.steps.batch.kinds import KINDS
from worker.steps.report import RunReport
from worker.steps.run_view import run_summary

_COLOURS: Final[Mapping[str, str]] = {
    "converted": "green",
    "unchanged": "cyan",
    "published": "green",
    "rolled_back": "green",
    "skipped": "yellow",
    "failed": "red",
}


def summary_fields(report: RunReport) -> dict[str, Any]:
    """A run as `migrate`, `retry`, `validate` and `status` have it in JSON."""
    return msgspec.structs.asdict(run_summary(report))


def print_summary(to: Console, report: RunReport) -> None:
    """Print what a run came to, and what to do about its failures.

    In a validation, drafts that do what V1 does are called `validated`.
    """
    progress, kind = report.progress, KINDS[report.run.kind]
    to.line()
    to.print(
        Text(label(progress), "bold").append(f" in {duration(progress.elapsed_s)}", "not bold")
    )
    if progress.reason:
        to.print(f"  {progress.reason}")
    if (target := target_of(report.run.options)) is not None:
        print_target(to, target)
    to.print(_outcomes(progress, report.codes, kind))
    for line in parity_lines(progress, report.overhead):
        to.print(line)
    if flagged := report.codes.get("skipped:flagged_without_version"):
        to.print(
            f"{counted(flagged, 'bot is', 'bots are')} flagged V2 without a published version, so nothing"
            " answers; to convert them: flowshift migrate --include-flagged",
            style="yellow",
        )
    if going_live := report.codes.get("skipped:draft_would_go_live"):
        to.print(
            f"{counted(going_live, 'bot is', 'bots are')} flagged V2 without a published version, and this"
            " platform runs drafts; to write them, live at once: flowshift migrate --live-drafts",
            style="yellow",
        )
    if stale := report.codes.get("skipped:stale_target"):
        to.print(
            f"{counted(stale, 'draft is', 'drafts are')} for another target: flowshift migrate makes new"
            " ones, of edited drafts with --overwrite-edited",
            style="yellow",
        )
    if report.failures:
        to.print(_failures(report.failures, progress.counts.failed))
    for number, reason in report.failed_batches:
        to.print(f"batch {number} failed as a whole: {reason}", style="red")
    if report.has_failures:
        to.print(
            f"Fix the bots, then: flowshift retry {progress.run_id}   "
            "One bot in detail: flowshift show BOT"
        )


def target_of(options: RunOptions) -> Choice | None:
    """The target of a run; None if none was recorded when it was started."""
    if options.target_reason is None:
        return None
    return Choice(options.target, options.target_reason, options.target_finding)


def parity_lines(progress: Progress, overhead: Overhead | None) -> Iterator[Text]:
    """How many drafts do what V1 does, and how much longer V2 takes; nothing if none was tried."""
    if overhead is None:
        return
    differ = overhead.bots - progress.counts.validated
    yield Text(
        f"parity     {progress.counts.validated:,} of {overhead.bots:,} drafts do what V1 does"
    )
    if differ > 0:
        yield Text(f"           {differ:,} do not, or could not be compared", "red")
    yield Text(
        f"overhead   V2 minus V1: p50 {span(overhead.p50_us)}, "
        f"p90 {span(overhead.p90_us)}, p99 {span(overhead.p99_us)}, max {span(overhead.max_us)}"
    )
    if overhead.over_limit:
        slow = counted(overhead.over_limit, "bot takes", "bots take")
        yield Text(f"           {slow} over 500 ms longer:", "red")
    for bot in overhead.slow:
        yield Text(f"           {bot.bot_id}  {span(bot.overhead_us)}")


def outcome_line(row: OutcomeRow, *, validates: bool) -> str:
    """What a run did for one bot."""
    passed = validates and row.outcome == "unchanged"
    code = f" {row.code}" if row.code else ""
    warnings = f", {row.warnings} warnings" if row.warnings else ""
    message = f": {row.message}" if row.message else ""
    return f"{row.bot_id}  {'validated' if passed else row.outcome}{code}{warnings}{message}"


def _outcomes(progress: Progress, codes: Mapping[str, int], kind: Kind) -> Table:
    table = Table(box=None, pad_edge=False)
    table.add_column("outcome")
    table.add_column("bots", justify="right")
    table.add_column("why")
    for outcome in kind.outcomes:
        total = getattr(progress.counts, outcome)
        why = [
            f"{code.partition(':')[2]} {count:,}"
            for code, count in codes.items()
            if code.startswith(f"{outcome}:")
        ]
        name: str = outcome
        if kind.validates and outcome == "unchanged":
            name, compared = "validated", progress.counts.validated
            why += [f"not compared {total - compared:,}"] if total > compared else []
            total = compared
        table.add_row(Text(name, _COLOURS[outcome]), f"{total:,}", ", ".join(why))
    table.add_row("total", f"{progress.counts.bots:,}", _warned(progress.counts.warnings))
    return table


def _warned(warnings: int) -> str:
    return f"{warnings:,} warnings (see flowshift show BOT)" if warnings else ""


def _failures(failures: Sequence[Failure], total: int) -> Table:
    more = f" (the first {len(failures)} of {total:,})" if total > len(failures) else ""
    table = Table(title=f"failed{more}", title_justify="left", box=None, pad_edge=False)
    table.add_column("bot", overflow="fold")
    table.add_column("code")
    table.add_column("reason", overflow="fold")
    for failure in failures:
        table.add_row(Text(failure.bot_id), Text(failure.code, "red"), Text(failure.message or ""))
    return table
