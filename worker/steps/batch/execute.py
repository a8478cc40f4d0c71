"""Execute a batch: claim it, enqueue the next ones, do it as its run's kind says."""

from __future__ import annotations

import msgspec

from worker.core.policy.batch_ref import BatchRef
from worker.core.policy.run_kinds import PUBLISHES
from worker.db.batches import Batch
from worker.db.engine import map_database_errors
from worker.db.publication.wave_of_run import wave_of_run
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
    of = _of(batch, process)
    process.reporter.report_batch(ref, ", ".join(filter(None, (of, which_bots(batch)))))
    process.queue.top_up(ref.run_id)
    with time_limit(process.runtime.settings.time_limit_s):
        report = KINDS[batch.kind].run(batch, process.runtime)
    process.throttle.record(report)
    return msgspec.structs.replace(report, of=of)


def _of(batch: Batch, process: Process) -> str:
    """The wave of a publication that a batch is a part of, for a person; empty for other kinds."""
    if batch.kind not in PUBLISHES:
        return ""
    with map_database_errors(), process.runtime.engine.connect() as connection:
        return str(wave_of_run(connection, batch.run_id) or "")
