"""The list of runs."""

from __future__ import annotations

from collections.abc import Iterable

from worker.cli.printing import Table, Text
from worker.cli.views.units import duration
from worker.core.policy.progress import Progress
from worker.db.runs import Run
from worker.steps.batch.kinds import KINDS


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
        mark = "retry" if run.options.selection == "retry" else KINDS[run.kind].mark
        of = f" of {run.parent_run_id}" if run.parent_run_id else ""
        table.add_row(
            str(run.run_id),
            run.state.replace("_", " ") + dry + (f" ({mark}{of})" if mark else ""),
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
