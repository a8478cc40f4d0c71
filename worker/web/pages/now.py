"""The first page: what goes on."""

from __future__ import annotations

from litestar import MediaType, get

from worker.steps.report import newest_runs
from worker.web.given import Reading

RUNS_SHOWN = 20


@get("/", media_type=MediaType.HTML, sync_to_thread=True, include_in_schema=False)
def now(reading: Reading) -> str:
    """The newest runs, a line each."""
    lines = [
        f"<li>run {run.run_id}: {progress.state}</li>"
        for run, progress in newest_runs(reading, RUNS_SHOWN)
    ]
    listed = f"<ul>{''.join(lines)}</ul>" if lines else "<p>no runs yet</p>"
    return (
        f'<!doctype html><html lang="en"><title>flowshift</title><h1>flowshift</h1>{listed}</html>'
    )
