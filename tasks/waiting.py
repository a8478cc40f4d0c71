"""Waiting before a batch, in a worker: at the gate, within the run's limits, and for a lost queue.

A task never waits long with a message in its hands. It waits in short slices, in which the run may
be cancelled, and after a turn it hands the message on: the queue is fair to other runs, and nothing
comes near the visibility timeout.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from worker.core.policy.health import Verdict
from worker.core.policy.progress import Progress
from worker.db import run_progress, runs
from worker.db.batches import Batch, ToPublish
from worker.db.engine import map_database_errors
from worker.errors import NotYetError
from worker.log import get_logger
from worker.queue.dispatch import Queue
from worker.runtime import Runtime
from worker.steps import breaker, parking
from worker.steps.batch.tally import Report
from worker.steps.enqueue import top_up
from worker.steps.throttle import Gate

log = get_logger(__name__)

SLICE_S = 1.0
"""The longest time between two looks at the run and the database."""

TURN_S = 10.0
"""After so long a waiting task hands its message on."""

STAY_S = 300.0
"""How long a task stays with a paused run while the queue is away."""

Attempt = Callable[[Callable[[Batch], None]], Report]


class Waiter:
    """Lets the batches of one process begin when they may."""

    def __init__(
        self,
        current: Runtime,
        queue: Queue,
        gate: Gate,
        show: Callable[[int], None],
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._current = current
        self._queue = queue
        self._gate = gate
        self._show = show
        self._clock = clock
        self._sleep = sleep

    def begin(self, run_id: int, number: int, attempt: Attempt) -> Report | None:
        """Attempt the batch as soon as it may begin; None where this task is to let go of it.

        The attempt gets what to call once the batch is claimed.

        Raises:
            Whatever the attempt raises but NotYetError.
        """
        self._rest()
        until = self._clock() + TURN_S
        waits = False
        try:
            while True:
                verdict, again_s = self._gate.verdict(), SLICE_S
                if verdict.decision == "go":
                    try:
                        return self._attempt(run_id, number, attempt, waits=waits)
                    except NotYetError as error:
                        verdict, again_s = Verdict("wait", error.check, str(error)), error.wait_s
                if not self._wait_on(run_id, number, verdict):
                    return None
                if not waits:
                    log.info("batch.waited", check=verdict.check, reason=verdict.reason)
                waits = True
                self._show(run_id)
                if self._clock() >= until and self._hand_on(run_id, number):
                    waits = False  # its message waits on
                    return None
                self._sleep(min(again_s, SLICE_S))
        finally:
            if waits:
                parking.stop_waiting(self._current.engine, run_id, number)

    def pause_between(self) -> None:
        """Pause before asking for work again, where there was none that may begin."""
        self._sleep(SLICE_S)

    def stay_with_paused(self, run_id: int) -> bool:
        """Stay with a paused run while the queue is away; says whether it goes on.

        Nobody could be told that it does: whoever works without the queue has to see for himself.
        """
        until = self._clock() + STAY_S
        stayed = False
        while self._state(run_id) == "paused":
            if self._clock() >= until or self._queue.answers():
                return False
            stayed = True
            self._sleep(SLICE_S)
        return stayed and self._state(run_id) == "running"

    def _rest(self) -> None:
        while (rest_s := self._gate.rest_s()) > 0:
            self._sleep(min(rest_s, SLICE_S))

    def _attempt(self, run_id: int, number: int, attempt: Attempt, *, waits: bool) -> Report:
        def claimed(batch: Batch) -> None:
            """While a run waits, or is paced, one batch stands for it: let the next one come."""
            if waits:
                parking.stop_waiting(self._current.engine, run_id, number)
            if waits or batch.options.get("max_rate") is not None:
                window = self._current.settings.batch_window
                top_up(self._current.engine, self._queue, run_id, window=window)

        report = attempt(claimed)
        self._gate.note(duration_ms=report.duration_ms, commit_ms=report.commit_ms)
        return report

    def _wait_on(self, run_id: int, number: int, verdict: Verdict) -> bool:
        """Whether this task is the one to wait."""
        engine = self._current.engine
        if verdict.decision == "stop":
            return not breaker.stop_for_health(engine, run_id, self._gate.verdict_now)
        if verdict.check == "concurrency":  # the batch that ends next publishes this one again
            parking.give_back(engine, run_id, number)
            return False
        return parking.wait_for_run(engine, run_id, number, verdict)

    def _hand_on(self, run_id: int, number: int) -> bool:
        """Whether the batch's message is in the queue again."""
        with map_database_errors(), self._current.engine.connect() as connection:
            kind = runs.kind_of(connection, run_id) or "convert"
        return self._queue.enqueue_batch(run_id, ToPublish(number, "waits for its turn", kind))

    def _state(self, run_id: int) -> str:
        with map_database_errors(), self._current.engine.connect() as connection:
            run = runs.get(connection, run_id)
        return "" if run is None else run.state


def progress_of(current: Runtime, run_id: int) -> Progress | None:
    """How far a run is; None where there is none."""
    with map_database_errors(), current.engine.connect() as connection:
        return run_progress.read(connection, run_id)
