"""A run as one row in Flower: its state and counts move in the result column.

Flower shows what arrives as Celery events. `task-progress` with a `result` is the one kind that it
shows moving, so a run is told as a task of its own (`run-12`) that is received, started, in
progress and succeeded.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from celery import Celery

from worker.core.progress import Progress
from worker.log import get_logger
from worker.publisher import AWAY_S

log = get_logger(__name__)

TASK_NAME = "flowshift.run"


def row_id(run_id: int) -> str:
    """The task id of a run's row.

    >>> row_id(12)
    'run-12'
    """
    return f"run-{run_id}"


def describe(progress: Progress) -> str:
    """A run in one line, for Flower's result column."""
    counts = progress.counts
    parts = [
        progress.state.replace("_", " "),
        f"{counts.bots:,}/{progress.bots_total:,} ({progress.share:.0%})",
        f"{counts.converted:,} converted",
        f"{counts.unchanged:,} unchanged",
        f"{counts.skipped:,} skipped",
        f"{counts.failed:,} failed",
        *([f"{counts.validated:,} validated"] if counts.validated else []),
    ]
    if not progress.is_over and progress.rate:
        parts.append(f"{progress.rate:,.0f} bots/s")
    if progress.waiting:
        parts.append(f"waiting for {progress.waiting}")
    elif progress.reason:
        parts.append(progress.reason)
    return ("dry run · " if progress.dry_run else "") + " · ".join(parts)


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
        text = describe(progress)
        events: list[tuple[str, dict[str, object]]] = []
        if progress.run_id not in self._begun:
            events = [
                ("task-received", {**named, "retries": 0, "eta": None}),
                ("task-started", {}),
            ]
        if progress.is_over:
            events.append(("task-succeeded", {"result": text, "runtime": progress.elapsed_s}))
        else:
            events.append(("task-progress", {**named, "result": text}))
        return events
