"""A sweep, and what it enqueues: by the beat's task, and by commands that follow a run."""

from __future__ import annotations

import time
from collections.abc import Callable

from worker.core.policy.run_kinds import QUEUES
from worker.errors import QueueAwayError, TransientError
from worker.log import get_logger
from worker.queue.dispatch import Queue
from worker.queue.limits import time_limit
from worker.runtime import Runtime
from worker.steps import rescue
from worker.steps.batch.process import Process
from worker.steps.enqueue import top_up

log = get_logger(__name__)


def sweep_once(current: Runtime, queue: Queue, *, actor: str) -> list[int]:
    """Enqueue lost work again, and close runs that are over; returns these.

    Raises:
        TransientError: the database was unavailable; the next sweep does the rest.
    """
    found = rescue.sweep(
        current.engine,
        empty=[name for name in QUEUES if queue.is_empty(name)],
        actor=actor,
        lease_s=current.settings.lease_s,
        heartbeat_s=current.settings.heartbeat_s,
    )
    if found is None:
        return []
    for run_id in found.to_plan:
        try:
            queue.enqueue_plan(run_id)
        except QueueAwayError as error:
            log.warning("run.unsent", run_id=run_id, error=str(error))
    for run_id in found.to_enqueue:
        top_up(current.engine, queue, run_id, window=current.settings.batch_window)
    return [
        run_id
        for run_id in rescue.runs_to_close(current.engine)
        if rescue.close_run(current.engine, run_id, actor=actor)
    ]


def sweep_and_report(process: Process) -> list[int]:
    """`sweep_once` within the time limit of a task; the runs that it closed are reported.

    Raises:
        TransientError: the database was unavailable; the next sweep does the rest.
    """
    with time_limit(process.runtime.settings.time_limit_s):
        closed = sweep_once(process.runtime, process.queue.messages, actor=process.actor)
        for run_id in closed:
            process.reporter.report_run(run_id)
    return closed


class Sweeper:
    """Sweeps every `sweep_s` seconds, for a command that follows a run: there may be no beat."""

    def __init__(
        self,
        current: Runtime,
        queue: Queue,
        *,
        actor: str,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._current = current
        self._actor = actor
        self._clock = clock
        self._queue = queue
        self._next_at = clock() + current.settings.sweep_s

    def tend(self) -> None:
        """Sweep if it is time to; call it as often as you like. A server that is unavailable is logged."""
        if self._clock() < self._next_at:
            return
        self._next_at = self._clock() + self._current.settings.sweep_s
        try:
            sweep_once(self._current, self._queue, actor=self._actor)
        except TransientError as error:
            log.warning("sweep.postponed", error=str(error))
