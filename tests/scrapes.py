"""Readings of metrics in a test's own database, as a dictionary."""

from __future__ import annotations

from typing import Any

import msgspec
import sqlalchemy as sa

from tests.fleet import Fleet
from worker.core.metrics.model import Sample
from worker.steps.metrics.read import read

Values = dict[tuple[str, ...], float]


def values_of(found: list[Sample]) -> Values:
    """Samples by name (without `flowshift_`) and labels; each is there once."""
    values = {(one.name.removeprefix("flowshift_"), *one.labels): one.value for one in found}
    assert len(values) == len(found)
    return values


def scrape(fleet: Fleet, *, engine: sa.Engine | None = None, **settings: Any) -> Values:
    """What metrics say now, with settings of its own."""
    changed = msgspec.structs.replace(fleet.current.settings, **settings)
    return values_of(read(engine or fleet.engine, changed))


def histogram(fleet: Fleet, name: str, *labels: str) -> tuple[float, tuple[int, ...]]:
    """The sum and the counts of a histogram; nothing observed if it is not there."""
    for one in read(fleet.engine, fleet.current.settings):
        if (one.name.removeprefix("flowshift_"), *one.labels) == (name, *labels):
            return one.value, one.counts
    return 0.0, ()
