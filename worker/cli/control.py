"""The commands that stop runs and let them continue: pause, resume, cancel."""

from __future__ import annotations

import click

from worker.app import app
from worker.cli.options import reason_option, run_argument, yes_option
from worker.cli.printing import confirm, say
from worker.cli.session import configure_logging, opened, person
from worker.core.counted import counted
from worker.queue.dispatch import CeleryQueue, Queue
from worker.runtime import Runtime
from worker.steps import control
from worker.steps.report import progress_of


@click.command()
@run_argument
@reason_option
def pause(*, run_id: int, reason: str | None) -> int:
    """Pause RUN: batches that a worker has end, no other begins.

    It takes effect within one batch, also while Redis is down. It does not matter who started the
    run. `flowshift resume RUN` lets it continue.

    \b
    Examples:
      flowshift pause 3
      flowshift pause 3 --reason "release of the platform"
    """
    configure_logging()
    with opened(needs_redis=False) as current:
        changed = control.pause_run(current, run_id, actor=person(), reason=reason)
        say(f"run {run_id} is {'' if changed else 'already '}paused")
    return 0


@click.command()
@run_argument
@reason_option
def resume(*, run_id: int, reason: str | None) -> int:
    """Let a paused RUN continue.

    If the run is not paused, batches that are missing in the queue are enqueued.

    \b
    Examples:
      flowshift resume 3
      flowshift resume 3 --reason "the release is done"
    """
    configure_logging()
    with opened(needs_redis=False) as current:
        queue = CeleryQueue(app)
        changed = control.resume_run(current, queue, run_id, actor=person(), reason=reason)
        say(f"run {run_id} {'continues' if changed else 'is already running'}")
        hint_at_queue(queue, run_id)
    return 0


@click.command()
@run_argument
@reason_option
@yes_option
def cancel(*, run_id: int, reason: str | None, yes: bool) -> int:
    """End RUN for good: batches that a worker has end, no other begins.

    Bots that are converted stay converted. The command asks first; in a script, use --yes.

    \b
    Examples:
      flowshift cancel 3
      flowshift cancel 3 --yes --reason "wrong bots"
    """
    configure_logging()
    with opened(needs_redis=False) as current:
        _may_cancel(current, run_id, yes=yes)
        changed = control.cancel_run(current, run_id, actor=person(), reason=reason)
        say(f"run {run_id} is {'' if changed else 'already '}cancelled")
    return 0


def hint_at_queue(queue: Queue, run_id: int) -> None:
    """Say so if a run's batches could not be enqueued, and what happens to them."""
    if queue.failed_last:
        say(
            "Redis is unavailable: workers continue when it is back (the beat enqueues the batches; "
            f"without a beat, run `flowshift resume {run_id}` then)",
            err=True,
        )


def _may_cancel(current: Runtime, run_id: int, *, yes: bool) -> None:
    """Ask, with what is at stake. A run that is over is left to the step, which refuses it."""
    progress = progress_of(current.engine, run_id)
    if not progress.is_over:
        left = max(0, progress.bots_total - progress.counts.bots)
        confirm(
            f"Cancel run {run_id} for good? It is {progress.state}, with {counted(left, 'bot')} left.",
            yes=yes,
        )
