"""Which processes of ours live, and work."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import sqlalchemy as sa

from worker.core.metrics.model import Sample
from worker.core.policy.processes import KINDS, MISSED_MAX, Process, condition_of
from worker.db import heartbeats
from worker.settings import Settings
from worker.steps.metrics.series import zeroed


def samples(connection: sa.Connection, settings: Settings) -> Iterator[Sample]:
    """Processes by what their heartbeats say, and how old the newest heartbeats of each kind are."""
    limit_s = float(MISSED_MAX * settings.heartbeat_s)
    found = [one for one in heartbeats.processes(connection) if not one.stopped]
    seen = ((one.kind, condition_of(one, limit_s)) for one in found)
    yield from zeroed("flowshift_processes", seen)
    for kind in KINDS:
        of_kind = [one for one in found if one.kind == kind]
        yield from _usage(kind, [one for one in of_kind if one.beat_s <= limit_s])
        yield from _ages(kind, of_kind)


def _usage(kind: str, alive: Iterable[Process]) -> Iterator[Sample]:
    """What those that live take; 0 if none does."""
    processes = list(alive)
    cores = sum(one.cpu_cores or 0.0 for one in processes)
    memory = [float(one.memory_bytes or 0) for one in processes]
    yield Sample("flowshift_processes_cpu_cores", cores, (kind,))
    yield Sample("flowshift_processes_memory_bytes", sum(memory), (kind,))
    yield Sample("flowshift_largest_process_memory_bytes", max(memory, default=0.0), (kind,))


def _ages(kind: str, found: Iterable[Process]) -> Iterator[Sample]:
    beats = [one.beat_s for one in found]
    if beats:
        yield Sample("flowshift_heartbeat_age_seconds", min(beats), (kind,))
    works = [one.worked_s for one in found if one.worked_s is not None]
    if works:
        yield Sample("flowshift_work_age_seconds", min(works), (kind,))
