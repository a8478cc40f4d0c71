"""What `migrate`, `retry` and `validate` share: start a run, follow it, print what it came to."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from worker.app import app
from worker.cli import workers
from worker.cli.follow import follow
from worker.cli.options import Starting
from worker.cli.printing import console, print_json, say
from worker.cli.session import configure_logging, opened, person
from worker.cli.views.summary import outcome_line, print_summary, summary_fields
from worker.cli.workers import WorkerPresent
from worker.core.policy.processes import working
from worker.db.runs import Run
from worker.processes.flower_program import page_of_run
from worker.processes.vitals import max_age_s
from worker.queue.dispatch import CeleryQueue
from worker.runtime import Runtime
from worker.steps.batch.kinds import KINDS
from worker.steps.processes import read_processes
from worker.steps.report import outcomes_of, report_run
from worker.steps.request import Request
from worker.steps.start import start_run

FAILURES_SHOWN: Final = 10


def start_and_report(request: Request, starting: Starting) -> int:
    """Start a run, follow it and print what it came to; returns the exit code."""
    configure_logging()
    with opened() as current:
        run = start_run(
            current,
            CeleryQueue(app),
            request,
            request_id=starting.request_id,
            requested_by=person(),
        )
        if not starting.as_json and (page := _flower_page(current, run.run_id)):
            say(f"run {run.run_id} in Flower: {page}", err=True)
        if not starting.as_json and (finding := run.options.target_finding):
            say(f"target {run.options.target}: {finding}", err=True)
        if starting.detach:
            return _detached(current, run, as_json=starting.as_json)
        follow_to_end(current, run.run_id, quiet=starting.as_json)
        if starting.verbose and not starting.as_json:
            print_outcomes(current, run.run_id, validates=KINDS[run.kind].validates)
        return print_report(current, run.run_id, as_json=starting.as_json)


def print_outcomes(current: Runtime, run_id: int, *, validates: bool = False) -> None:
    """Print what a run did for each bot, a line each."""
    for row in outcomes_of(current.engine, run_id):
        say(outcome_line(row, validates=validates))


def print_report(current: Runtime, run_id: int, *, as_json: bool = False) -> int:
    """Print what a run came to; returns the exit code."""
    report = report_run(current.engine, run_id, most_failures=None if as_json else FAILURES_SHOWN)
    if as_json:
        print_json(summary_fields(report))
    else:
        print_summary(console(), report)
    return 0 if report.is_good else 1


def _flower_page(current: Runtime, run_id: int) -> str | None:
    """The address of a run's own page, if a Flower of this machine works and its port is known."""
    page = page_of_run(current.settings, run_id)
    if page is None:
        return None
    found = read_processes(current.engine, host=socket.gethostname())
    if not any(one.kind == "flower" for one in working(found, max_age_s(current))):
        return None
    return page


def _detached(current: Runtime, run: Run, *, as_json: bool) -> int:
    if as_json:
        print_json({"run_id": run.run_id, "state": run.state})
    else:
        say(f"run {run.run_id} is in the queue; follow it: flowshift watch {run.run_id}")
    workers.hint(current, run.run_id)
    return 0


def follow_to_end(current: Runtime, run_id: int, *, quiet: bool) -> None:
    """Follow a run until it is over, with a worker of our own if there is none."""
    with (
        WorkerPresent(current, run_id, quiet=quiet) as worker,
        said_when_interrupted(run_id, has_own_worker=lambda: worker.is_own),
    ):
        follow(current, run_id, quiet=quiet, meanwhile=worker.tend)


@contextmanager
def said_when_interrupted(run_id: int, *, has_own_worker: Callable[[], bool]) -> Iterator[None]:
    """When Ctrl-C ends the block, say what happens to the run and how to continue."""
    try:
        yield
    except KeyboardInterrupt:
        for line in interrupted_lines(run_id, has_own_worker=has_own_worker()):
            say(line, err=True)
        raise


def interrupted_lines(run_id: int, *, has_own_worker: bool) -> tuple[str, ...]:
    """What is printed when a person stops following a run.

    >>> interrupted_lines(3, has_own_worker=True)[0]
    'run 3 waits: its worker was started here and stops. To continue: flowshift up'
    """
    what = (
        f"run {run_id} waits: its worker was started here and stops. To continue: flowshift up"
        if has_own_worker
        else f"run {run_id} continues in the workers"
    )
    return what, f"follow it: flowshift watch {run_id}   stop it: flowshift cancel {run_id}"
