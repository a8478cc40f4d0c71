"""Execute a batch: claim it, enqueue the next ones, do it as its run's kind says."""

from __future__ import annotations

from worker.core.policy.batch_ref import BatchRef
from worker.queue.limits import time_limit
from worker.steps.batch.kinds import KINDS
from worker.steps.batch.process import Process
from worker.steps.batch.tally import Report, which_bots


def execute(ref: BatchRef, process: Process) -> Report | None:
    """Do a batch once, however often and wherever it is delivered; None if there is nothing to do.

    Raises:
        StaleError: the batch went to another worker meanwhile.
        TransientError: a server was unavailable or busy; nothing was done. Calling it again does it.
    """
    batch = process.admission.claim(ref)
    if batch is None:
        return None
    process.reporter.report_batch(ref, which_bots(batch))
    process.queue.top_up(ref.run_id)
    with time_limit(process.runtime.settings.time_limit_s):
        report = KINDS[batch.kind].run(batch, process.runtime)
    process.throttle.record(report)
    return report
