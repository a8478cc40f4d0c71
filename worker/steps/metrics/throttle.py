"""What each health check says now, as a worker would be told before its next batch."""

from __future__ import annotations

from collections.abc import Iterator

import sqlalchemy as sa

from worker.core.metrics.catalogue import DECISIONS
from worker.core.metrics.model import Sample
from worker.settings import Settings
from worker.steps.throttle import Throttle


def samples(connection: sa.Connection, settings: Settings) -> Iterator[Sample]:
    """Of each check, which of go, wait and stop it says."""
    for verdict in Throttle(connection.engine, settings).check_all():
        for decision in DECISIONS:
            is_it = float(verdict.decision == decision)
            yield Sample("flowshift_throttle", is_it, (verdict.check, decision))
