"""What happened between two readings."""

from __future__ import annotations

from worker.core.metrics.model import Sample
from worker.core.metrics.window import increase

UP = "flowshift_up"


def test_a_gauge_is_what_it_is_now() -> None:
    assert increase([Sample(UP, 1.0)], [Sample(UP, 0.0)]) == [Sample(UP, 0.0)]
