"""Runs: the list, and one with its counts, its pace, its failures."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Annotated, Any, Final
from weakref import WeakKeyDictionary

import msgspec
import sqlalchemy as sa
from litestar import Response, get
from litestar.params import PathParameter, QueryParameter
from litestar.response import Stream
from markupsafe import Markup

from worker.core.codes import MEANINGS, REMEDIES
from worker.core.csv_lines import csv_line
from worker.core.drawing import plot
from worker.core.drawing.plot import Plot, Point
from worker.core.policy.progress import Progress, label, reason_of
from worker.core.policy.run_kinds import queue_of
from worker.db.outcomes import Found
from worker.db.run_pace import Pace
from worker.processes.flower_program import page_of_run
from worker.runtime import Runtime
from worker.steps.batch.kinds import KINDS
from worker.steps.outcomes import HEADER, cells, failed_pages
from worker.steps.report import newest_runs
from worker.steps.run_page import AddedUp, RunPage, add_up, read_failures, read_run_page
from worker.web.given import Reading
from worker.web.pages.counted import CountedEach
from worker.web.pages.rendering import picture
from worker.web.pages.shell import PageShell

REFRESH_S: Final = 5
RUNS_SHOWN: Final = 50
CSV_PAGE: Final = 5_000
"""Failures that are read, and written, at once."""

EXACT_BATCHES: Final = 400
"""V2's time over V1's of so many batches is added up for each look: it takes some 10 ms."""

OVERHEAD_S: Final = 30.0
"""That of more is added up so often at most while the run goes on, and whenever its state changes."""

RunId = Annotated[int, PathParameter(ge=1, le=2**63 - 1)]
Text = Annotated[str, QueryParameter(max_length=200)]


_ADDED_OF: Final[WeakKeyDictionary[Runtime, CountedEach[int, AddedUp]]] = WeakKeyDictionary()


def _overhead_of(current: Runtime) -> Callable[[sa.Connection, Progress], AddedUp]:
    """How to add up a run's overheads: of a large run, all requests of this process share the sum."""
    each = _ADDED_OF.setdefault(current, CountedEach())

    def added(connection: sa.Connection, progress: Progress) -> AddedUp:
        if progress.batches_done + progress.batches_failed <= EXACT_BATCHES:
            return add_up(connection, progress)
        is_over = progress.is_over
        return each.get(
            progress.run_id,
            (progress.state, progress.version if is_over else None),
            math.inf if is_over else OVERHEAD_S,  # nothing is added to a run that is over
            lambda: _added_now(connection, progress),
        )

    return added


def _added_now(connection: sa.Connection, progress: Progress) -> AddedUp:
    now = None if progress.is_over else dt.datetime.now(dt.UTC)
    return msgspec.structs.replace(add_up(connection, progress), added_at=now)


@get("/runs", sync_to_thread=True, include_in_schema=False)
def runs(shell: PageShell, reading: Reading) -> Response[str]:
    """The newest runs."""
    found = newest_runs(reading, RUNS_SHOWN)
    return shell.page("runs.html", runs=found, most=RUNS_SHOWN, reason_of=reason_of)


@get("/runs/{run_id:int}", sync_to_thread=True, include_in_schema=False)
def run(
    shell: PageShell,
    reading: Reading,
    run_id: RunId,
    code: Text = "",
    begins: Text = "",
    after_code: Text = "",
    after_bot: Text = "",
) -> Response[str]:
    """One run."""
    found = read_run_page(reading, run_id, overhead_of=_overhead_of(shell.current))
    after = (after_code, after_bot) if after_code and after_bot else None
    failures = read_failures(reading, run_id, code=code or None, begins=begins, after=after)
    return shell.page(
        "run.html",
        refresh_s=0 if found.progress.is_over else REFRESH_S,
        found=found,
        failures=failures,
        shown={"code": code, "begins": begins, "after": after},
        outcomes=outcomes_of(found),
        plots=plots_of(found.pace),
        label=label(found.progress),
        reason=reason_of(found.progress),
        queue=queue_of(found.run.kind),
        flower_run=page_of_run(shell.current.settings, run_id),
        log_key=f"run_id={run_id}",
        meanings=MEANINGS,
        remedies=REMEDIES,
    )


@get("/runs/{run_id:int}/failures.csv", sync_to_thread=True, include_in_schema=False)
def failures_csv(reading: Reading, run_id: RunId, code: Text = "") -> Stream:
    """Every failure of a run as CSV, as `flowshift failures --csv`: page by page, as fast as it is read."""
    pages = failed_pages(reading, run_id, code=code or None, size=CSV_PAGE)
    name = f"run-{run_id}-failures.csv"
    return Stream(
        blocks(pages),
        media_type="text/csv",
        headers={"Content-Disposition": f'attachment; filename="{name}"'},
    )


def blocks(pages: Iterable[Sequence[Found]]) -> Iterator[bytes]:
    """CSV, a page of lines at a time: each piece of a stream costs a turn of a thread."""
    yield csv_line(HEADER).encode()
    for page in pages:
        yield "".join(csv_line(cells(one)) for one in page).encode("utf-8", "backslashreplace")


def outcomes_of(found: RunPage) -> list[Mapping[str, Any]]:
    """The outcomes that a run of this kind has, each with its count and its codes."""
    kind = KINDS[found.run.kind]
    shown: list[Mapping[str, Any]] = []
    for outcome in kind.outcomes:
        passed = kind.validates and outcome == "unchanged"
        total = getattr(found.progress.counts, outcome)
        codes = {key: bots for key, bots in found.codes.items() if key.startswith(f"{outcome}:")}
        shown.append(
            {
                "name": "validated" if passed else outcome,
                "bots": found.progress.counts.validated if passed else total,
                "not_compared": total - found.progress.counts.validated if passed else 0,
                "codes": codes,
            }
        )
    return shown


def plots_of(pace: Pace) -> list[Markup]:
    """How fast a run was, how long its batches took, and how many bots failed, over its time."""
    rate = [one.bots / pace.slice_s for one in pace.slices]
    batches = [one.batch_ms for one in pace.slices]
    failed = [float(one.failed) for one in pace.slices]
    return [
        picture(plot.draw(one, name=name))
        for name, one in (
            ("rate", _over_time(pace, rate, title="Throughput", unit="bots/s")),
            ("batch", _over_time(pace, batches, title="Time of a batch, mean", unit="ms")),
            (
                "failed",
                _over_time(pace, failed, title="Failed", unit="bots", kind="bars", tone="bad"),
            ),
        )
    ]


def _over_time(
    pace: Pace,
    values: Sequence[float | None],
    *,
    title: str,
    unit: str,
    kind: plot.Kind = "line",
    tone: plot.Tone = "plain",
) -> Plot:
    points = [Point(number * pace.slice_s, value) for number, value in enumerate(values)]
    return Plot(
        title=title,
        unit=unit,
        points=points,
        span_s=pace.span_s,
        bar_s=pace.slice_s,
        kind=kind,
        tone=tone,
    )


HANDLERS: Final = (runs, run, failures_csv)
