"""Count how often a plan was there for a draft, with all that the process measures."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from worker.core.targets.target import Target
from worker.db.measuring.measured import MEASURED

_NAMES: Final = ("flowshift_plans_found", "flowshift_plans_made", "flowshift_plans_forgotten")


@contextmanager
def plans_counted(target: Target) -> Iterator[None]:
    """Measure what the block does with the plans of a target."""
    before = target.writer.counts
    yield
    for name, now, then in zip(_NAMES, target.writer.counts, before, strict=True):
        if now > then:
            MEASURED.count(name, now - then)
