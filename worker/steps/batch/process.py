"""What a worker's process does batches with."""

from __future__ import annotations

import time
from collections.abc import Callable

from worker.progress.reporter import Reporter
from worker.queue.dispatch import Queue
from worker.queue.limits import process_name
from worker.runtime import Runtime
from worker.steps.batch.admission import Admission
from worker.steps.batch.retry import Sleep
from worker.steps.enqueue import BatchQueue
from worker.steps.throttle import Throttle


class Process:
    """One for each process of a worker, made after the fork; it does one batch at a time.

    `name` is the name under which the process claims batches, `actor` the one in the audit trail.
    """

    def __init__(
        self,
        runtime: Runtime,
        queue: Queue,
        reporter: Reporter,
        *,
        hostname: str,
        name: str | None = None,
        throttle: Throttle | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Sleep = time.sleep,
    ) -> None:
        self.runtime = runtime
        self.reporter = reporter
        self.name = name or process_name(hostname)
        self.actor = f"worker:{hostname}"
        self.sleep = sleep
        self.queue = BatchQueue(runtime, queue)
        self.throttle = throttle or Throttle(runtime.engine, runtime.settings)
        self.admission = Admission(
            runtime,
            self.throttle,
            self.queue,
            reporter,
            worker=self.name,
            clock=clock,
            sleep=sleep,
        )
