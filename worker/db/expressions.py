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


def graph_hash(row: str) -> str:
    """SQL for the hash of a version's graph, by which a draft of ours is known.

    Of its text, in which every value has its place. PostgreSQL's own hash of a `jsonb` does not see two
    values that change places 32 apart, such as two prompts: an edit that people make.
    """
    return f'hashtextextended({row}.graph::text COLLATE "C", 0)'


def source_hash(workflow_hash: str, recipe: str) -> str:
    """SQL for the hash of all that a draft follows from; null if one of the two is.

    `workflow_hash` is of the workflow's text, `recipe` what `worker.core.targets.convert.recipe` makes.
    """
    return f"hashint8extended({workflow_hash}, {recipe})"


def seconds(count: float) -> sa.ColumnElement[Any]:
    """An interval of `count` seconds, to add to a time or to take from it."""
    return sa.cast(f"{count} seconds", sa.Interval)
