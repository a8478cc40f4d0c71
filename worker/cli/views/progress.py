"""How far a run is: its bar, or a line in a log."""

from __future__ import annotations

from worker.cli.views.bar import Piece, State
from worker.core.policy.progress import Progress, label, reason_of
from worker.core.units import duration


def bar_state(progress: Progress) -> State:
    """What a run's bar shows; its share and its failures stay longest on a narrow terminal."""
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
        reason=reason_of(progress),
    )


def progress_line(progress: Progress) -> str:
    """A run's progress in one line, without a terminal."""
    counts = progress.counts
    pace = (
        ""
        if progress.eta_s is None and not progress.rate
        else f", {progress.rate:,.0f} bots/s, {duration(progress.eta_s)} left"
    )
    reason = reason_of(progress)
    return (
        f"{label(progress)}: {counts.bots:,}/{progress.bots_total:,} ({progress.share:.0%}), "
        f"{counts.failed:,} failed{pace}{f'; {reason}' if reason else ''}"
    )
