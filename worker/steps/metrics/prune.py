"""The last prunes, and the next."""

from __future__ import annotations

from collections.abc import Iterator

import sqlalchemy as sa

from worker.core.metrics.model import Sample
from worker.db.prune import record
from worker.settings import Settings
from worker.steps.prune.calendar import schedule


def samples(connection: sa.Connection, settings: Settings) -> Iterator[Sample]:
    """What the last prunes came to, and when the beat prunes next."""
    found = schedule(connection, settings.prune_at)
    ended, done = record.last_ended(connection), record.last_ended(connection, "done")
    is_running = found.last is not None and found.last.state == "running"
    was_stopped = ended is not None and ended.state == "stopped"
    yield Sample("flowshift_prune_running", float(is_running))
    yield Sample("flowshift_prune_stopped", float(was_stopped))
    yield Sample("flowshift_prune_missed", float(found.missed is not None))
    if found.next_at is not None:
        yield Sample("flowshift_prune_next_timestamp_seconds", found.next_at.timestamp())
    if done is not None and done.finished_at is not None:
        duration_s = (done.finished_at - done.started_at).total_seconds()
        yield Sample("flowshift_prune_done_timestamp_seconds", done.finished_at.timestamp())
        yield Sample("flowshift_prune_done_duration_seconds", duration_s)
