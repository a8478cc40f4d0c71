"""A sweep with what it sends: by the beat's task, and by commands that wait for a run."""

from __future__ import annotations

import time
from collections.abc import Callable

from tasks.queue import AWAY, Sender, is_empty, publish_next, send_plan
from worker.errors import TransientError
from worker.log import get_logger
from worker.runtime import Runtime
from worker.steps import rescue

log = get_logger(__name__)


def sweep_once(current: Runtime, sender: Sender, *, actor: str) -> list[int]:
    """Enqueue what nobody looks after any more, and close runs that are over; returns these.

    Raises:
        TransientError: the database was away; the next sweep does the rest.
    """
    found = rescue.sweep(current.engine, queue_is_empty=is_empty(), actor=actor)
    if found is None:
        return []
    for run_id in found.to_plan:
        try:
            send_plan(run_id)
        except AWAY as error:
            log.warning("run.unsent", run_id=run_id, error=str(error))
    for run_id in found.to_publish:
        publish_next(current, sender, run_id)
    return [
        run_id
        for run_id in rescue.runs_to_close(current.engine)
        if rescue.close_run(current.engine, run_id, actor=actor)
    ]


class Sweeper:
    """Sweeps now and then, for a command that waits for a run: there may be no beat."""

    def __init__(
        self, current: Runtime, *, actor: str, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._current = current
        self._actor = actor
        self._clock = clock
        self._sender = Sender()
        self._next_at = clock() + current.settings.sweep_s

    def tend(self) -> None:
        """Sweep if it is time to; call it as often as you like. Never raises for servers away."""
        if self._clock() < self._next_at:
            return
        self._next_at = self._clock() + self._current.settings.sweep_s
        try:
            sweep_once(self._current, self._sender, actor=self._actor)
        except TransientError as error:
            log.warning("sweep.put_off", error=str(error))
