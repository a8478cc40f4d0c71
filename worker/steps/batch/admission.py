"""Admission: a batch waits for its turn in a worker, then it is claimed.

It waits for the throttle, for its run's limits, and for the rest after the batch before. A task never
waits long while it holds a message: it waits in short slices, in which the run may be cancelled,
and after a turn it hands the message on. The queue is fair to other runs, and nothing comes near the
visibility timeout.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from types import TracebackType
from typing import Final, Self

import sqlalchemy as sa

from worker.core.policy.batch_ref import BatchRef
from worker.core.policy.health import Verdict
from worker.core.policy.run_kinds import HURRIES
from worker.db import admission, runs
from worker.db.batches import Batch
from worker.db.engine import map_database_errors
from worker.errors import NotYetError
from worker.log import get_logger
from worker.progress.reporter import Reporter
from worker.queue.limits import time_limit
from worker.runtime import Runtime
from worker.steps import breaker, parking
from worker.steps.batch.retry import Sleep
from worker.steps.enqueue import BatchQueue
from worker.steps.throttle import Throttle

log = get_logger(__name__)

SLICE_S: Final = 1.0
"""The longest time between two looks at the run and the database."""

TURN_S: Final = 10.0
"""After so long a waiting task hands its message on."""


class Admission:
    """Claims the batches of one process when they may begin.

    `claimed` is what the last call claimed; None if it did not come that far.
    """

    def __init__(
        self,
        runtime: Runtime,
        throttle: Throttle,
        queue: BatchQueue,
        reporter: Reporter,
        *,
        worker: str,
        clock: Callable[[], float] = time.monotonic,
        sleep: Sleep = time.sleep,
    ) -> None:
        self.claimed: Batch | None = None
        self._runtime = runtime
        self._throttle = throttle
        self._queue = queue
        self._reporter = reporter
        self._worker = worker
        self._clock = clock
        self._sleep = sleep

    def claim(self, ref: BatchRef) -> Batch | None:
        """Claim a batch as soon as it may begin; None if this process must give it up.

        Raises:
            TransientError: the database was unavailable or busy.
        """
        self.claimed = None
        if self._throttle.rest_s() > 0 and not self._hurries(ref):
            self._rest()
        settings, engine = self._runtime.settings, self._runtime.engine
        with _Wait(engine, ref, until=self._clock() + TURN_S) as wait:
            while True:
                verdict, again_s = self._throttle.check(), SLICE_S
                if verdict.decision == "go" or self._hurries(ref):
                    try:
                        with (
                            map_database_errors(),
                            time_limit(settings.time_limit_s),
                            engine.begin() as connection,
                        ):
                            batch = admission.claim(
                                connection,
                                ref,
                                worker=self._worker,
                                lease_s=settings.lease_s,
                                target_ms=settings.batch_target_ms,
                            )
                        return self._begin(ref, batch)
                    except NotYetError as error:
                        verdict, again_s = Verdict("wait", error.check, str(error)), error.wait_s
                if not self._stays(wait, verdict):
                    return None
                self._sleep(min(again_s, SLICE_S))

    def _rest(self) -> None:
        while (rest_s := self._throttle.rest_s()) > 0:
            self._sleep(min(rest_s, SLICE_S))

    def _hurries(self, ref: BatchRef) -> bool:
        """Whether this batch waits for no health check and no rest."""
        with map_database_errors(), self._runtime.engine.connect() as connection:
            return runs.kind_of(connection, ref.run_id) in HURRIES

    def _begin(self, ref: BatchRef, batch: Batch | None) -> Batch | None:
        if batch is None:
            log.info("task.stale", batch=ref.number, reason="it is done, or not to be done here")
        self.claimed = batch
        return batch

    def _stays(self, wait: _Wait, verdict: Verdict) -> bool:
        """Whether this process goes on waiting with the batch, for its whole run."""
        if not self._may_wait(wait.ref, verdict):
            return False
        if not wait.is_parked:
            log.info("batch.waited", check=verdict.check, reason=verdict.reason)
        wait.is_parked = True
        self._reporter.report_now_and_then(wait.ref.run_id)
        if self._clock() >= wait.until and self._queue.hand_on(wait.ref):
            wait.is_parked = False  # its message waits on
            return False
        return True

    def _may_wait(self, ref: BatchRef, verdict: Verdict) -> bool:
        """Whether this batch is the one to wait."""
        engine = self._runtime.engine
        if verdict.decision == "stop":
            return not breaker.stop_for_health(engine, ref.run_id, self._throttle.check_now)
        if verdict.check == "concurrency":  # the batch that ends next enqueues this one again
            parking.put_back(engine, ref)
            return False
        return parking.wait_for_run(engine, ref, verdict)


class _Wait:
    """The waiting of one batch, which parks its run; ends the parking."""

    def __init__(self, engine: sa.Engine, ref: BatchRef, *, until: float) -> None:
        self.ref = ref
        self.until = until
        self.is_parked = False
        self._engine = engine

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self.is_parked:
            parking.stop_waiting(self._engine, self.ref)
