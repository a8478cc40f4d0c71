"""What flowshift needs of the platform's tables, as the models in `worker.db.platform_tables` have it."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSON

from worker.db.platform_tables import PLATFORM_TABLES, bots
from worker.db.schema.adoption import Kind, Needs
from worker.db.schema.catalog import Index


def needs_of(table: sa.Table) -> Needs:
    """What flowshift needs of one of the platform's tables, as the models have it."""
    needed = {
        str(column.name): _kind(column)
        for column in table.columns
        if column.info.get("needed", True)
    }
    return Needs(
        table=str(table.name),
        columns=needed,
        indexes=tuple(index for index in _indexes(table) if set(index.columns) <= needed.keys()),
        added=frozenset({"use_workflow_v2", "legacy_workflow"} if table is bots else ()),
        inserts=table is not bots,
    )


def _kind(column: sa.Column[object]) -> Kind:
    if isinstance(column.type, JSON):
        return "json"
    return "text" if column.name == "bot_id" else "any"


def _indexes(table: sa.Table) -> list[Index]:
    """Every index of a table, with the keys that hold its rows apart, or that others refer to."""
    keys = [
        Index(
            str(key.name or f"{table.name}_{'_'.join(key.columns.keys())}_key"),
            tuple(str(column.name) for column in key.columns),
            unique=True,
        )
        for key in sorted(table.constraints, key=lambda key: str(key.name))
        if isinstance(key, sa.UniqueConstraint)
        or (isinstance(key, sa.PrimaryKeyConstraint) and _is_referred_to(table))
    ]
    indexes = [
        Index(
            str(index.name),
            tuple(str(column.name) for column in index.columns),
            unique=index.unique,
            where=_predicate(index),
        )
        for index in sorted(table.indexes, key=lambda index: str(index.name))
    ]
    return keys + indexes


def _is_referred_to(table: sa.Table) -> bool:
    return any(key.column.table is table for other in PLATFORM_TABLES for key in other.foreign_keys)


def _predicate(index: sa.Index) -> str:
    where = index.dialect_options["postgresql"]["where"]
    return "" if where is None else str(where)
