"""What `status` prints: the run, its pace, the database's health, the fleet and the processes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from worker.cli.printing import Console, Table, Text
from worker.cli.views.fleet import fleet_text, live_text, publication_lines, twice_text
from worker.cli.views.notify import print_stuck
from worker.cli.views.processes import working_line
from worker.cli.views.progress import progress_line
from worker.cli.views.schedule import prune_text
from worker.cli.views.summary import print_summary, target_of
from worker.cli.views.target import print_target
from worker.core.counted import counted
from worker.core.policy.health import UNREAD, Verdict
from worker.core.policy.processes import no_worker
from worker.core.policy.run_kinds import queue_of
from worker.core.shown import plain
from worker.core.targets.registry import TARGETS
from worker.core.units import percent
from worker.db.fleet import Executed, Executions, ExecutionsOfStatus
from worker.db.outcomes import Counts
from worker.steps.metrics.totals import PlanCounts
from worker.steps.prune.calendar import PruneSchedule
from worker.steps.status import Pace, Status

REASON_WIDTH: Final = 2_000
"""A reason is printed whole, but not without end."""


def print_status(to: Console, status: Status, schedule: PruneSchedule, limit_s: float) -> None:
    """Print everything; `limit_s` is how old a heartbeat may be."""
    if status.report is None:
        to.print("no runs yet")
    else:
        if status.pace is not None:
            to.print(progress_line(status.report.progress))
            to.print(pace_line(status.pace))
            for line in health_lines(status.health):
                to.print(line)
        print_summary(to, status.report)
    to.line()
    _print_target(to, status)
    _print_fleet(to, status)
    to.print(working_line(status.processes, limit_s))
    if status.pace is not None and status.report is not None:
        missing = no_worker(queue_of(status.report.run.kind), status.processes, limit_s)
        if missing:
            to.print(Text(missing, "yellow"))
    if (said := plans_text(status.plans)) is not None:
        to.print(said)
    to.print(prune_text(schedule))
    print_stuck(to, status.notifications_stuck)
    if status.executed.all.count:
        to.print(executed_table(status.executed))


def _print_fleet(to: Console, status: Status) -> None:
    to.print(fleet_text(status.fleet, serves_drafts=TARGETS[status.target.target].serves_drafts))
    if (live := live_text(status.fleet)) is not None:
        to.print(live)
    if (twice := twice_text(status.fleet)) is not None:
        to.print(twice)
    for one in status.publications:
        for said in publication_lines(one):
            to.print(said)
    if status.open_failures.by_code:
        to.print(_open_text(status.open_failures))


def _print_target(to: Console, status: Status) -> None:
    """The target of a run started now, unless the summary of the last run says the same."""
    if status.report is None:
        print_target(to, status.target)
    elif target_of(status.report.run.options) != status.target:
        print_target(to, status.target, "target of a run started now:")


def pace_line(pace: Pace) -> str:
    """How fast a run may go."""
    parts = [f"{counted(pace.batch_size_now, 'bot')} a batch (at most {pace.batch_size:,})"]
    if pace.max_rate is not None:
        parts.append(f"at most {pace.max_rate:,g} bots/s")
    if pace.concurrency is not None:
        parts.append(f"at most {counted(pace.concurrency, 'batch', 'batches')} at once")
    parts.append(f"pauses if more than {pace.max_failures:.0%} of bots fail with one code")
    return f"pace: {', '.join(parts)}"


def plans_text(plans: PlanCounts) -> str | None:
    """How many drafts found their plan made; None before the first.

    >>> plans_text(PlanCounts(found=990, made=10, forgotten=2))
    'plans: 99.0 % of 1,000 drafts by one that was kept; 10 made, 2 forgotten'
    """
    if not (drafts := plans.found + plans.made):
        return None
    share = percent(plans.found / drafts)
    return (
        f"plans: {share} of {counted(drafts, 'draft')} by one that was kept; "
        f"{plans.made:,} made, {plans.forgotten:,} forgotten"
    )


def health_lines(verdicts: Sequence[Verdict]) -> list[str]:
    """The checks that make runs wait or stop, or that cannot be read; one line if all is well."""
    return [
        f"health: {verdict.decision}, {verdict.check}: {plain(verdict.reason, REASON_WIDTH)}"
        for verdict in verdicts
        if verdict.decision != "go" or verdict.reason.startswith(UNREAD)
    ] or ["health: go"]


def _open_text(open_failures: Counts) -> Text:
    by_code = ", ".join(f"{code} {bots:,}" for code, bots in open_failures.by_code.items())
    total = sum(open_failures.by_code.values())
    about = "about " if open_failures.is_estimate else ""
    return Text(
        f"still failed: {about}{counted(total, 'bot')} ({by_code}): flowshift failures", "red"
    )


def executed_table(executed: Executed) -> Table:
    """Executions of the last 24 hours: all, by status, and by who made them where both did."""
    table = Table(title=_executed_title(executed), title_justify="left", box=None, pad_edge=False)
    table.add_column("", no_wrap=True)
    for name in ("count", "success", "average ms", "average tokens"):
        table.add_column(name, justify="right")
    _add_executed(table, "all", executed.all)
    for entry in executed.by_status:
        _add_executed(table, f"  {plain(entry.status)}", entry)
    if executed.traffic.count and executed.validation.count:
        _add_executed(table, "real traffic", executed.traffic)
    if executed.validation.count:
        _add_executed(table, "validation", executed.validation)
    return table


def _executed_title(executed: Executed) -> str:
    if executed.since is None:
        return "executions, last 24 hours"
    return f"executions, the newest {executed.all.count:,}: since {executed.since:%Y-%m-%d %H:%M:%S} UTC"


def _add_executed(table: Table, name: str, entry: Executions | ExecutionsOfStatus) -> None:
    rate = entry.success_rate if isinstance(entry, Executions) else None
    time_ms = "–" if entry.avg_time_ms is None else f"{entry.avg_time_ms:,}"
    tokens = "–" if entry.avg_tokens is None else f"{entry.avg_tokens:,}"
    share = "" if rate is None else percent(rate)
    table.add_row(Text(name), f"{entry.count:,}", share, time_ms, tokens)
