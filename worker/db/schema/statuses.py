"""Statuses of executions that the gate does not know: such executions count as nothing for a wave."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import sqlalchemy as sa

from worker.core.publication.statuses import KNOWN, said, together
from worker.db.schema.catalog import FoundTable
from worker.db.schema.findings import Finding

TABLE: Final = "workflow_execution_runs"

NEWEST: Final = 10_000
"""So many executions are looked at: the newest."""

# By the index on created_at; without one that would sort the whole table, and the check says so anyhow.
_SEEN: Final = f"""
    SELECT left(COALESCE(n.status::text, ''), 40) AS status, count(*) AS executions
    FROM (SELECT status FROM {TABLE} ORDER BY created_at DESC LIMIT {NEWEST}) n
    WHERE COALESCE(n.status::text, '') <> ALL (CAST(:known AS text[])) GROUP BY 1
"""  # noqa: S608  (constants)

_MAY_READ: Final = sa.text("SELECT has_table_privilege(CAST(:oid AS oid), 'SELECT')")


def findings(connection: sa.Connection, tables: Sequence[FoundTable]) -> list[Finding]:
    """A note on executions whose status is not known, of the newest ones."""
    found = next((table for table in tables if table.name == TABLE), None)
    if found is None or not _can_be_read(connection, found):
        return []
    rows = connection.execute(sa.text(_SEEN), {"known": list(KNOWN)})
    unknown = together({row.status: row.executions for row in rows})
    if not unknown:
        return []
    text = (
        f"of the newest {NEWEST:,} executions, {said(unknown)}: the gate counts them as nothing, neither"
        " success nor failure"
    )
    return [Finding(TABLE, text, obstructs=False)]


def _can_be_read(connection: sa.Connection, found: FoundTable) -> bool:
    is_indexed = any(
        index.valid and index.columns[:1] == ("created_at",) for index in found.indexes
    )
    has_columns = {"status", "created_at"} <= set(found.columns)
    may_read = connection.execute(_MAY_READ, {"oid": found.oid}).scalar_one()
    return bool(is_indexed and has_columns and may_read)
