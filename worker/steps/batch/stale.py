"""Drafts that were written for another target than the run's, and that a person edited."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, TypeGuard, TypeVar

import msgspec
import sqlalchemy as sa

from worker.core.targets.detect import of_types
from worker.db import drafts
from worker.db.ledger import LedgerRow

Row = TypeVar("Row")

EDITED: Final = "draft_edited"


def name_stale(
    connection: sa.Connection, rows: Iterable[Row], target: str
) -> list[Row | LedgerRow]:
    """The same outcomes; of edited drafts, those for another target are called `stale_target`."""
    rows = list(rows)
    edited = [one.bot_id for one in rows if _is_edited(one)]
    types = drafts.node_types(connection, edited)
    own = {bot_id: of_types(found).name for bot_id, found in types.items()}
    return [
        _stale(one, own[one.bot_id], target)
        if _is_edited(one) and own.get(one.bot_id, target) != target
        else one
        for one in rows
    ]


def stale_row(bot_id: str, own: str, target: str) -> LedgerRow:
    """The outcome of a validation that finds a draft for another target."""
    message = (
        f"its draft is one for the target {own}, and this run's is {target}: flowshift migrate makes "
        f"another, --target {own} executes this one"
    )
    return LedgerRow(bot_id, "skipped", "stale_target", message)


def _stale(row: LedgerRow, own: str, target: str) -> LedgerRow:
    message = (
        f"its draft is one for the target {own} and holds what flowshift did not write; "
        f"--overwrite-edited makes one for {target}"
    )
    return msgspec.structs.replace(row, code="stale_target", message=message)


def _is_edited(row: object) -> TypeGuard[LedgerRow]:
    return isinstance(row, LedgerRow) and row.code == EDITED
