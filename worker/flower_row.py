"""A run as one row in Flower: its state and counts move in the result column.

Flower shows what arrives as Celery events. `task-progress` with a `result` is the one kind that it
shows moving, so a run is told as a task of its own (`run-12`) that is received, started, in
progress, and succeeded or failed. It is received again with each progress, so that sorting by Received
keeps a run at work on the first page. A paused run is PAUSED: to Celery a state like PROGRESS.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable

from celery import Celery

from worker.core.progress import Progress
from worker.core.states import RunState
from worker.log import get_logger
from worker.publisher import AWAY_S

log = get_logger(__name__)

TASK_NAME = "flowshift.run"

_MARKS: dict[RunState, str] = {
    "planning": "▶",
    "running": "▶",
    "finishing": "▶",
    "paused": "⏸",
    "completed": "✔",
    "completed_with_failures": "✖",
    "failed": "✖",
    "cancelled": "■",
}


def row_id(run_id: int) -> str:
    """The task id of a run's row.

    >>> row_id(12)
    'run-12'
    """
    return f"run-{run_id}"


def describe(progress: Progress) -> str:
    """A run in one line, for Flower's result column: what matters comes first, since it is cut.

    Only a run that is at work has a rate and a time left.
    """
    counts = progress.counts
    at_work = not progress.is_over and progress.state != "paused"
    parts = [
        f"{_MARKS[progress.state]} {int(progress.share * 100)} %",
        *(["dry run"] if progress.dry_run else []),
        *([f"{counts.failed:,} failed"] if counts.failed else []),
        *([f"waiting for {progress.waiting}"] if at_work and progress.waiting else []),
        *([f"{_duration(progress.eta_s)} left"] if at_work and progress.eta_s else []),
        progress.state.replace("_", " "),
        *([progress.reason] if progress.reason else []),
        f"{counts.bots:,}/{progress.bots_total:,} bots",
        f"{counts.converted:,} converted",
        f"{counts.unchanged:,} unchanged",
        f"{counts.skipped:,} skipped",
        *([f"{counts.validated:,} validated"] if counts.validated else []),
        *([f"{progress.rate:,.0f} bots/s"] if at_work and progress.rate else []),
    ]
    return " · ".join(parts)


def failure_of(progress: Progress) -> str | None:
    """Why Flower shows a run that is over as FAILURE; None where it succeeded or goes on.

    A cancelled run is among them: to Celery's events PROGRESS outranks REVOKED.
    """
    if progress.state == "completed_with_failures":
        return (
            f"{progress.counts.failed:,} of {progress.bots_total:,} bots failed:"
            f" flowshift failures {progress.run_id}"
        )
    if progress.state == "failed":
        return progress.reason or "the run failed"
    if progress.state == "cancelled":
        return f"cancelled: {progress.reason}" if progress.reason else "cancelled"
    return None


def _duration(seconds: float) -> str:
    """Seconds, roughly, as a person says them, never less than what is left.

    >>> _duration(3.2), _duration(170.0), _duration(9_000.0)
    ('4 s', '3 min', '2 h 30 min')
    """
    if seconds <= 59:
        return f"{math.ceil(seconds)} s"
    hours, minutes = divmod(math.ceil(seconds / 60), 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min"


class FlowerRow:
    """Sends a run's row as events of one worker; never raises, never waits long."""

    def __init__(self, app: Celery, hostname: str, clock: Callable[[], float] = time.monotonic):
        self._app = app
        self._hostname = hostname
        self._clock = clock
        self._away_until = 0.0
        self._begun: set[int] = set()

    def publish(self, progress: Progress) -> bool:
        """Show `progress`; call it only with what is newer than everything shown before."""
        if self._clock() < self._away_until:
            return False
        try:
            with self._app.events.default_dispatcher(hostname=self._hostname) as dispatcher:
                for kind, fields in self._events(progress):
                    dispatcher.send(kind, uuid=row_id(progress.run_id), retry=False, **fields)
            self._remember(progress)
        except Exception as error:  # noqa: BLE001  (kombu's transports raise what they like)
            self._away_until = self._clock() + AWAY_S
            log.warning("flower_row.unsent", run_id=progress.run_id, error=str(error))
            return False
        return True

    def _remember(self, progress: Progress) -> None:
        """Keep in mind which rows have been begun, once that has been sent."""
        if progress.is_over:
            self._begun.discard(progress.run_id)
        else:
            self._begun.add(progress.run_id)

    def _events(self, progress: Progress) -> list[tuple[str, dict[str, object]]]:
        named: dict[str, object] = {
            "name": TASK_NAME,
            "args": "()",
            "kwargs": f"run {progress.run_id}{', dry run' if progress.dry_run else ''}",
        }
        events: list[tuple[str, dict[str, object]]] = [
            ("task-received", {**named, "retries": 0, "eta": None})
        ]
        if progress.run_id not in self._begun:
            events.append(("task-started", {}))
        events.append(_standing(progress, {**named, "result": describe(progress)}))
        return events


def _standing(progress: Progress, fields: dict[str, object]) -> tuple[str, dict[str, object]]:
    """The event that gives a row its state."""
    if not progress.is_over:
        return ("task-paused" if progress.state == "paused" else "task-progress", fields)
    over = {**fields, "runtime": progress.elapsed_s}
    failure = failure_of(progress)
    if failure is not None:
        return "task-failed", {**over, "exception": failure}
    return "task-succeeded", over
