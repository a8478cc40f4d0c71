"""What people see: tables, bars and summaries. Colour only on a terminal."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from worker.cli.printing import Console, Table, Text
from worker.cli.terminal import plain
from worker.cli.views.bar import Piece, State
from worker.core.codes import OUTCOMES
from worker.core.parity.overhead import Summary as Overhead
from worker.core.policy.progress import Progress
from worker.db.fleet import Executed, Executions, ExecutionsOfStatus
from worker.db.runs import Failure, Run

SAID_WIDTH = 300

_COLOURS: Mapping[str, str] = {
    "converted": "green",
    "unchanged": "cyan",
    "skipped": "yellow",
    "failed": "red",
}


def duration(seconds: float | None) -> str:
    """Seconds as a person says them.

    >>> duration(None), duration(3.21), duration(75), duration(7321)
    ('–', '3.2 s', '1 min 15 s', '2 h 2 min')
    """
    if seconds is None:
        return "–"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"


def bar_state(progress: Progress) -> State:
    """What a run's bar shows: its share and failures longest, its rate shortest."""
    counts, total = progress.counts, progress.bots_total
    rate = "" if progress.eta_s is None and not progress.rate else f"{progress.rate:,.0f} bots/s"
    return State(
        label(progress),
        done=counts.bots,
        total=total or (1 if progress.is_over else None),
        pieces=(
            Piece(f"{progress.share:.0%}".replace("%", " %"), rank=0),
            Piece(f"{counts.bots:,}/{total:,}", rank=3),
            Piece(f"{counts.failed:,} failed" if counts.failed else "", rank=1, style="red"),
            Piece(rate, rank=4),
            Piece(f"{duration(progress.eta_s)} left" if progress.eta_s else "", rank=2),
        ),
        reason=said(progress).removeprefix("; "),
    )


def label(progress: Progress) -> str:
    """A run's name and state, before its bar."""
    dry = " (dry run)" if progress.dry_run else ""
    return f"run {progress.run_id}{dry} {progress.state.replace('_', ' ')}"


def one_line(progress: Progress) -> str:
    """A run's progress as a line of a log, for where there is no terminal."""
    counts = progress.counts
    pace = (
        ""
        if progress.eta_s is None and not progress.rate
        else f", {progress.rate:,.0f} bots/s, {duration(progress.eta_s)} left"
    )
    return (
        f"{label(progress)}: {counts.bots:,}/{progress.bots_total:,} ({progress.share:.0%}), "
        f"{counts.failed:,} failed{pace}{said(progress)}"
    )


def said(progress: Progress) -> str:
    """What a run waits for, or why it is in its state; empty where there is nothing to say."""
    if progress.waiting:
        return f"; waits for {plain(progress.waiting, SAID_WIDTH)}"
    return f"; {plain(progress.reason, SAID_WIDTH)}" if progress.reason else ""


def print_summary(
    to: Console,
    progress: Progress,
    codes: Mapping[str, int],
    failures: Sequence[Failure],
    failed_batches: Sequence[tuple[int, str]] = (),
    overhead: Overhead | None = None,
    *,
    validates: bool = False,
) -> None:
    """What a run came to: by outcome, by code, and the first failures with their reasons.

    Of a run that only executes drafts (`validates`), those that passed are called `validated`.
    """
    to.line()
    to.print(
        Text(label(progress), "bold").append(f" in {duration(progress.elapsed_s)}", "not bold")
    )
    if progress.reason:
        to.print(f"  {progress.reason}", markup=False)
    to.print(_outcomes(progress, codes, validates=validates))
    for line in validation_lines(progress, overhead):
        to.print(line)
    if flagged := codes.get("skipped:flagged_without_version"):
        to.print(
            f"flagged V2 without a published version, so they cannot answer: {flagged:,} bots; "
            "to convert them: flowshift migrate --include-flagged",
            style="yellow",
            markup=False,
        )
    if failures:
        to.print(_failures(failures, progress.counts.failed))
    for number, reason in failed_batches:
        to.print(f"batch {number} failed as a whole: {reason}", style="red", markup=False)
    if progress.counts.failed or failed_batches:
        to.print(
            f"Fix the bots, then: flowshift retry {progress.run_id}   "
            "One bot in detail: flowshift show BOT",
            markup=False,
        )


def validation_lines(progress: Progress, overhead: Overhead | None) -> Iterator[Text]:
    """What executing the drafts showed: how many do what V1 does, and how much slower V2 is."""
    if overhead is None:
        return
    differ = overhead.bots - progress.counts.validated
    yield Text(
        f"parity     {progress.counts.validated:,} of {overhead.bots:,} drafts do what V1 does"
    )
    if differ > 0:
        yield Text(f"           {differ:,} do not, or could not be compared", "red")
    yield Text(
        f"overhead   V2 takes {_span(overhead.p50_us)} longer than V1 (half of the bots), "
        f"90 %: {_span(overhead.p90_us)}, 99 %: {_span(overhead.p99_us)}, "
        f"at most {_span(overhead.max_us)}"
    )
    if overhead.over_limit:
        yield Text(f"           {overhead.over_limit:,} bots take over 500 ms longer:", "red")
    for bot in overhead.slow:
        yield Text(f"           {bot.bot_id}  {_span(bot.overhead_us)}")


def _span(us: int) -> str:
    """Microseconds as a person says them.

    >>> _span(-7), _span(1_250), _span(2_500_000)
    ('-7 µs', '1.2 ms', '2.5 s')
    """
    if abs(us) < 1_000:
        return f"{us} µs"
    return f"{us / 1_000:.1f} ms" if abs(us) < 1_000_000 else f"{us / 1_000_000:.1f} s"


def _outcomes(progress: Progress, codes: Mapping[str, int], *, validates: bool) -> Table:
    table = Table(box=None, pad_edge=False)
    table.add_column("outcome")
    table.add_column("bots", justify="right")
    table.add_column("why")
    for outcome in OUTCOMES:
        total = getattr(progress.counts, outcome)
        why = [
            f"{code.partition(':')[2]} {count:,}"
            for code, count in codes.items()
            if code.startswith(f"{outcome}:")
        ]
        name: str = outcome
        if validates and outcome == "unchanged":
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


def runs_table(entries: Iterable[tuple[Run, Progress]]) -> Table:
    """Runs, newest first, a line each."""
    table = Table(box=None, pad_edge=False)
    for name, right in (
        ("run", True),
        ("state", False),
        ("bots", True),
        ("converted", True),
        ("unchanged", True),
        ("skipped", True),
        ("failed", True),
        ("took", True),
        ("started (UTC)", False),
        ("by", False),
    ):
        table.add_column(name, justify="right" if right else "left")
    for run, progress in entries:
        counts = progress.counts
        dry = " (dry run)" if run.dry_run else ""
        of = "retry" if run.options.selection == "retry" else "validation"
        retry = f" ({of} of {run.parent_run_id})" if run.parent_run_id else ""
        if run.kind == "validate" and not retry:
            retry = " (validation)"
        table.add_row(
            str(run.run_id),
            run.state.replace("_", " ") + dry + retry,
            f"{progress.bots_total:,}",
            f"{counts.converted:,}",
            f"{counts.unchanged:,}",
            f"{counts.skipped:,}",
            Text(f"{counts.failed:,}", "red" if counts.failed else ""),
            duration(progress.elapsed_s),
            f"{run.created_at:%Y-%m-%d %H:%M:%S}",
            Text(run.requested_by),
        )
    return table


def executed_table(executed: Executed) -> Table:
    """Executions of the last 24 hours: all, by status, and by who made them where both did."""
    table = Table(title="executions, last 24 hours", title_justify="left", box=None, pad_edge=False)
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


def _add_executed(table: Table, name: str, entry: Executions | ExecutionsOfStatus) -> None:
    rate = entry.success_rate if isinstance(entry, Executions) else None
    time_ms = "–" if entry.avg_time_ms is None else f"{entry.avg_time_ms:,}"
    tokens = "–" if entry.avg_tokens is None else f"{entry.avg_tokens:,}"
    share = "" if rate is None else share_text(rate)
    table.add_row(Text(name), f"{entry.count:,}", share, time_ms, tokens)


def share_text(share: float) -> str:
    """A share in per cent; what is not all never reads as all, and what is not none never as none.

    >>> share_text(1), share_text(0.99999), share_text(0.923), share_text(0.00001), share_text(0)
    ('100 %', '99.9 %', '92.3 %', '0.1 %', '0 %')
    """
    if share in (0, 1):
        return f"{share:.0%}".replace("%", " %")
    return f"{min(max(share * 100, 0.1), 99.9):.1f} %"
