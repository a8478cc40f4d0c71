"""What publications are at, and what the gate saw last."""

from __future__ import annotations

from collections.abc import Iterator

import sqlalchemy as sa

from worker.core.metrics.model import Sample
from worker.core.publication.baseline import METRICS, NOTHING
from worker.db.metrics import publications
from worker.settings import Settings
from worker.steps.metrics.series import valued


def samples(connection: sa.Connection, _: Settings) -> Iterator[Sample]:
    """Publications and waves by state, and the executions that the gate counted last."""
    found = publications.open_now(connection)
    for name, by_state in (
        ("flowshift_publications", found.publications),
        ("flowshift_waves", found.waves),
    ):
        values: dict[tuple[str, ...], float] = {(state,): n for state, n in by_state.items()}
        yield from valued(name, values)
    yield Sample("flowshift_gate_look_age_seconds", found.looked_s or 0.0)
    counts = publications.last_counts(connection)
    for metric in METRICS:
        count = counts.get(metric, NOTHING)
        yield Sample("flowshift_gate_executions", count.executions, (metric,))
        yield Sample("flowshift_gate_bad_executions", count.failed, (metric,))
