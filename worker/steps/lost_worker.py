"""What a worker's parent process does when one of its children died.

Celery knows at once that the child is gone, and how. What becomes of the batch is decided by
`worker.steps.rescue`, in the database.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from typing import Final

import sqlalchemy as sa

from worker.core.policy.batch_ref import BatchRef
from worker.db import audit, outbox
from worker.db.engine import map_database_errors
from worker.errors import FlowshiftError
from worker.log import get_logger
from worker.queue import limits
from worker.queue.dispatch import Queue
from worker.runtime import Runtime
from worker.settings import Settings
from worker.steps.enqueue import top_up
from worker.steps.finish import finish_run
from worker.steps.rescue import lose_worker

log = get_logger(__name__)

AT_ONCE_MAX: Final = 3
"""How often a batch whose process died unclaimed is enqueued again at once within `AT_ONCE_S`."""

AT_ONCE_S: Final = 60.0

_SIGNAL = re.compile(r"signal (\d+)")
_EXIT_CODE = re.compile(r"exitcode (\d+)")


class Resent:
    """Which batches were enqueued again at once lately.

    If every process dies before it claims anything, this would be a race without end: then the batch
    waits for the next sweep, which finds its message lost.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._sent: dict[BatchRef, list[float]] = {}

    def may_send(self, ref: BatchRef) -> bool:
        """Whether to enqueue this batch again at once; counts it if so."""
        since = self._clock() - AT_ONCE_S
        lately = {key: [at for at in times if at > since] for key, times in self._sent.items()}
        self._sent = {key: times for key, times in lately.items() if times}
        times = self._sent.setdefault(ref, [])
        if len(times) >= AT_ONCE_MAX:
            return False
        times.append(self._clock())
        return True


class LostWorkers:
    """Follows up the deaths of one worker's processes."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._resent = Resent(clock)

    def follow_up(
        self,
        runtime: Runtime,
        queue: Queue,
        *,
        worker: str,
        error: str,
        actor: str,
        run_id: int | None,
        batch: int | None,
    ) -> None:
        """Free what the dead process named `worker` had claimed, and have its runs continue.

        `run_id` and `batch` are what its message named, `error` is what Celery says of its end. Never
        raises: with the database unavailable the lease runs out, and a sweep does it.
        """
        why = how_it_ended(runtime.settings, error)
        log.warning("child.lost", worker=worker, reason=why)
        try:
            freed = lose_worker(runtime.engine, worker, why, actor=actor)
            run_ids = {ref.run_id for ref in freed} | ({run_id} if run_id else set())
            if run_id and batch and (ref := BatchRef(run_id, batch)) not in freed:
                self._resend(runtime.engine, ref, why, actor=actor)
            for one in run_ids:
                top_up(runtime.engine, queue, one, window=runtime.settings.batch_window)
                finish_run(runtime.engine, one, actor=actor)
        except FlowshiftError as problem:
            log.warning("child.unreported", worker=worker, error=str(problem))

    def _resend(self, engine: sa.Engine, ref: BatchRef, why: str, *, actor: str) -> None:
        """Let a batch be enqueued again whose process died before it claimed it, or when it was done.

        That counts nothing against it. One that is over, or another worker's, is left alone.
        """
        if not self._resent.may_send(ref):
            return
        with map_database_errors(), engine.begin() as connection:
            if not outbox.put_back(connection, [ref]):
                return
            reason = f"a worker process died before it claimed this batch: {why}"
            detail = {"batches": [ref.number]}
            audit.record(connection, ref.run_id, actor, "batch.resent", reason, detail)
        log.warning("batch.unclaimed", run_id=ref.run_id, batches=[ref.number], reason=reason)


def how_it_ended(settings: Settings, error: str) -> str:
    """How a process ended, for people, of what Celery says of it."""
    if found := _SIGNAL.search(error):
        return limits.how_it_ended(
            int(found[1]), time_limit_s=settings.time_limit_s, memory_mb=settings.child_memory_mb
        )
    code = _EXIT_CODE.search(error)
    return f"it ended by itself{f' with code {code[1]}' if code else ''}"
