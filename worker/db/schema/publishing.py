"""What keeps a database, or a role, from publishing and rolling back; conversions do not need it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import sqlalchemy as sa

from worker.db.rights import RIGHTS
from worker.db.schema.catalog import FoundTable
from worker.db.schema.findings import Finding
from worker.db.schema.labels import takes
from worker.db.schema.privileges import denied_columns

LABELS: Final = ("published", "archived")


def findings(connection: sa.Connection, tables: Sequence[FoundTable]) -> list[Finding]:
    """A note for each thing that is missing: of the column of statuses, and of the role."""
    return [
        Finding(found.name, text, obstructs=False)
        for found in tables
        for text in (*_labels(connection, found), *_rights(connection, found))
    ]


def _labels(connection: sa.Connection, found: FoundTable) -> list[str]:
    status = found.columns.get("status") if found.name == "bot_workflow_versions" else None
    if status is None:
        return []
    refused = [label for label in LABELS if not takes(connection, status.type, label)]
    if not refused:
        return []
    names = " and ".join(map(repr, refused))
    return [f"status is {status.type}, which does not take {names}: nothing can be published"]


def _rights(connection: sa.Connection, found: FoundTable) -> list[str]:
    wanted = [name for name in RIGHTS.get(found.name, ()) if name in found.columns]
    denied = denied_columns(connection, found, "UPDATE", wanted)
    if denied is None:
        return []
    text = (
        f"the role {denied.role} has no right to UPDATE {denied.columns}: publish and roll back as"
        " flowshift_publisher (flowshift db role)"
    )
    return [text]
