"""How long requests to `flowshift serve` took of late, of all its processes together."""

from __future__ import annotations

from collections.abc import Iterator

import sqlalchemy as sa

from worker.core.metrics.model import Sample
from worker.core.metrics.requests import recent, together
from worker.db.metrics import http
from worker.settings import Settings


def samples(connection: sa.Connection, _: Settings) -> Iterator[Sample]:
    """Requests of the last minutes by class of status, and p50, p90 and p99 of their durations."""
    yield from recent(together(http.read(connection)))
