"""The list of runs."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from worker.cli.printing import Table, Text
from worker.core.policy.progress import Progress
from worker.core.units import duration
from worker.db.runs import Run
from worker.steps.batch.kinds import KINDS

_COLUMNS: Final = {
    "run": 0,
    "state": 0,
    "bots": 0,
    "converted": 80,
    "unchanged": 110,
    "published": 120,
    "skipped": 110,
    "failed": 0,
    "took": 80,
    "started (UTC)": 0,
    "by": 110,
}
"""Each column, and the least width of a terminal on which it is shown."""

_TEXTS: Final = ("state", "started (UTC)", "by")
_LEAST_WIDTH: Final = {"state": len("completed"), "started (UTC)": len("11-29 06:56:28")}


def runs_table(entries: Iterable[tuple[Run, Progress]], *, width: int) -> Table:
    """Runs in the order given, a line each: as many columns as fit into `width`."""
    shown = [name for name, least in _COLUMNS.items() if width >= least]
    table = Table(box=None, pad_edge=False)
    for name in shown:
        if name in _TEXTS:
            table.add_column(name, overflow="fold", min_width=_LEAST_WIDTH.get(name))
        else:
            table.add_column(name, justify="right", no_wrap=True)
    for run, progress in entries:
        cells = _cells(run, progress, with_year="by" in shown)
        table.add_row(*(cells[name] for name in shown))
    return table


def _cells(run: Run, progress: Progress, *, with_year: bool) -> dict[str, Text]:
    counts = progress.counts
    return {
        "run": Text(str(run.run_id)),
        "state": Text(_state(run)),
        "bots": Text(f"{progress.bots_total:,}"),
        "converted": Text(f"{counts.converted:,}"),
        "unchanged": Text(f"{counts.unchanged:,}"),
        "published": Text(f"{counts.published:,}"),
        "skipped": Text(f"{counts.skipped:,}"),
        "failed": Text(f"{counts.failed:,}", "red" if counts.failed else ""),
        "took": Text(duration(progress.elapsed_s)),
        "started (UTC)": Text(f"{run.created_at:{'%Y-%m-%d' if with_year else '%m-%d'} %H:%M:%S}"),
        "by": Text(run.requested_by),
    }


def _state(run: Run) -> str:
    dry = " (dry run)" if run.dry_run else ""
    mark = "retry" if run.options.selection == "retry" else KINDS[run.kind].mark
    of = f" of {run.parent_run_id}" if run.parent_run_id else ""
    return run.state.replace("_", " ") + dry + (f" ({mark}{of})" if mark else "")
