"""Real traffic on the platform: how long it takes, and how much of it fails."""

from __future__ import annotations

from collections.abc import Iterator

import sqlalchemy as sa

from worker.core.metrics.catalogue import QUANTILES
from worker.core.metrics.model import Sample
from worker.db.metrics import traffic
from worker.settings import Settings
from worker.steps.publication.look import rules_of


def samples(connection: sa.Connection, settings: Settings) -> Iterator[Sample]:
    """The last minutes of executions that are no trials."""
    found = traffic.read(connection, rules_of(settings, bots=1))
    yield Sample("flowshift_traffic_executions", found.succeeded, ("succeeded",))
    yield Sample("flowshift_traffic_executions", found.failed, ("failed",))
    for share, duration_s in zip(QUANTILES, found.durations_s, strict=False):
        yield Sample("flowshift_traffic_duration_seconds", duration_s, (f"{share:g}",))
    yield Sample("flowshift_traffic_window_seconds", found.window_s)
