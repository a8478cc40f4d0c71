"""Totals since the beginning; those to which nothing was added yet are 0."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import Final

import msgspec
import sqlalchemy as sa

from worker.core.codes import FAILURE_CODES, SKIP_CODES
from worker.core.metrics.catalogue import CATALOGUE, TOTALS
from worker.core.metrics.model import Sample
from worker.db.measuring import totals
from worker.settings import Settings
from worker.steps.batch.kinds import KINDS

BOTS: Final = "flowshift_bots"


def samples(connection: sa.Connection, _: Settings) -> Iterator[Sample]:
    """Every total, so that what is counted for the first time is seen to grow from 0."""
    found = {(one.name, one.labels): one for one in totals.read(connection)}
    for metric in TOTALS:
        empty = (0,) * (len(metric.bounds) + 1) if metric.bounds else ()
        for labels in _combinations(metric.name):
            found.setdefault((metric.name, labels), Sample(metric.name, 0.0, labels, empty))
    yield from found.values()


class PlanCounts(msgspec.Struct, frozen=True):
    """Drafts by a plan that was kept, those whose plan was made, and plans that were forgotten."""

    found: int
    made: int
    forgotten: int


def plans(connection: sa.Connection) -> PlanCounts:
    """How often plans were there, since the beginning."""
    found = {one.name: int(one.value) for one in totals.read(connection)}
    names = (f"flowshift_plans_{name}" for name in PlanCounts.__struct_fields__)
    return PlanCounts(*(found.get(name, 0) for name in names))


def _combinations(name: str) -> Iterator[tuple[str, ...]]:
    if name == BOTS:
        return _bots()
    return product(*(label.values for label in CATALOGUE[name].labels))


def _bots() -> Iterator[tuple[str, ...]]:
    """The outcomes and codes that bots of each kind of run may have."""
    codes = {"skipped": SKIP_CODES, "failed": FAILURE_CODES}
    for kind, rules in KINDS.items():
        for outcome in rules.outcomes:
            for code in codes.get(outcome, ("",)):
                yield kind, outcome, code
