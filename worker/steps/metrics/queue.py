"""What runs are at, and what waits for a worker."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import sqlalchemy as sa

from worker.core.metrics.model import Sample
from worker.core.policy.progress import rate_of
from worker.core.policy.run_kinds import PUBLISHES, QUEUES, queue_of
from worker.core.policy.states import RUN_KINDS
from worker.db.metrics import queue
from worker.db.metrics.queue import Active
from worker.settings import Settings
from worker.steps.metrics.series import zeroed


def samples(connection: sa.Connection, _: Settings) -> Iterator[Sample]:
    """Runs that are not over by state, and their batches by queue."""
    active = queue.active(connection)
    unattended = queue.without_worker(connection)
    yield from zeroed("flowshift_runs", ((one.kind, one.state) for one in active))
    parked = ((one.parked,) for one in active if one.parked is not None)
    yield from zeroed("flowshift_runs_parked", parked)
    for name in QUEUES:
        of_queue = [one for one in active if queue_of(one.kind) == name]
        publishes = name == queue_of(PUBLISHES[0])
        yield Sample("flowshift_runs_without_worker", unattended.get(publishes, 0), (name,))
        yield from _batches(name, of_queue)
    for kind in RUN_KINDS:
        rate = sum(rate_of(one.recent_bots, one.elapsed_s) for one in active if one.kind == kind)
        yield Sample("flowshift_bots_per_second", rate, (kind,))


def _batches(name: str, active: Iterable[Active]) -> Iterator[Sample]:
    runs = list(active)

    def total(count: Callable[[Active], int]) -> float:
        return float(sum(count(one) for one in runs))

    yield Sample("flowshift_open_batches", total(lambda one: one.planned), (name, "planned"))
    yield Sample("flowshift_open_batches", total(lambda one: one.enqueued), (name, "enqueued"))
    yield Sample("flowshift_open_batches", total(lambda one: one.running), (name, "running"))
    yield Sample("flowshift_overdue_batches", total(lambda one: one.overdue), (name,))
    oldest_s = max((one.oldest_s or 0.0 for one in runs), default=0.0)
    yield Sample("flowshift_oldest_unclaimed_batch_age_seconds", oldest_s, (name,))
