"""Expressions that several queries are made of."""

from __future__ import annotations

from typing import Any, Final

import sqlalchemy as sa

from worker.db.tables import batches

BOTS_COUNTED: Final[sa.ColumnElement[int]] = (
    batches.c.converted
    + batches.c.unchanged
    + batches.c.published
    + batches.c.rolled_back
    + batches.c.skipped
    + batches.c.failed
)
"""How many bots of a batch have an outcome of any kind."""


def seconds(count: float) -> sa.ColumnElement[Any]:
    """An interval of `count` seconds, to add to a time or to take from it."""
    return sa.cast(f"{count} seconds", sa.Interval)
