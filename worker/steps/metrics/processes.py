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
        yield from _ages(kind, [one for one in found if one.kind == kind])


def _ages(kind: str, found: Iterable[Process]) -> Iterator[Sample]:
    beats = [one.beat_s for one in found]
    if beats:
        yield Sample("flowshift_heartbeat_age_seconds", min(beats), (kind,))
    works = [one.worked_s for one in found if one.worked_s is not None]
    if works:
        yield Sample("flowshift_work_age_seconds", min(works), (kind,))
