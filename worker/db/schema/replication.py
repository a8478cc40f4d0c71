"""Publications that forbid writing: of a table without a replica identity."""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa

from worker.db.backups import Place
from worker.db.schema.catalog import FoundTable
from worker.db.schema.findings import Finding


def findings(
    connection: sa.Connection, tables: Sequence[FoundTable], backup: Place
) -> list[Finding]:
    """Tables, and partitions of them, in which published rows cannot be updated or deleted.

    `bots` is updated only where the backup is in a column.
    """
    writes = {
        "bots": "update" if backup == "column" else "",
        "bot_workflow_versions": "update",
        "workflow_execution_runs": "delete",
        "workflow_node_executions": "delete",
    }
    by_schema = connection.execute(
        sa.text("SELECT to_regclass('pg_publication_namespace')")
    ).scalar()
    query = sa.text(_UNIDENTIFIED.format(by_schema=_BY_SCHEMA if by_schema else "false"))
    return [
        Finding(table.name, _forbids(row, writes[table.name]))
        for table in tables
        if writes[table.name]
        for row in connection.execute(query, {"oid": table.oid, "write": writes[table.name]})
    ]


def _forbids(row: sa.Row[tuple[str, str]], write: str) -> str:
    return (
        f"{row.name}: the publication {row.publications} publishes {write}s, and there is no replica"
        f" identity, so that no row can be {write}d: ALTER TABLE {row.name} REPLICA IDENTITY USING"
        " INDEX (a unique index on columns that are NOT NULL), or FULL"
    )


# Of a table that is neither a partition nor has any, PostgreSQL's functions say nothing.
_PUBLISHED_AS = """
    SELECT c.oid AS relid UNION SELECT m.relid::oid FROM pg_partition_ancestors(c.oid) m
"""

_BY_SCHEMA = f"""
    EXISTS (
        SELECT FROM pg_publication_namespace n JOIN pg_class a ON a.relnamespace = n.pnnspid
        WHERE n.pnpubid = p.oid AND a.oid IN ({_PUBLISHED_AS})
    )
"""

_UNIDENTIFIED = f"""
    SELECT c.oid::regclass::text AS name, string_agg(p.pubname, ', ' ORDER BY p.pubname) AS publications
    FROM pg_class c
    JOIN pg_publication p
      ON CASE CAST(:write AS text) WHEN 'update' THEN p.pubupdate ELSE p.pubdelete END
     AND (
         p.puballtables
         OR EXISTS (
             SELECT FROM pg_publication_rel r
             WHERE r.prpubid = p.oid AND r.prrelid IN ({_PUBLISHED_AS})
         )
         OR {{by_schema}}
     )
    WHERE c.oid IN (
        SELECT CAST(:oid AS oid) UNION SELECT t.relid::oid FROM pg_partition_tree(CAST(:oid AS oid)) t
    )
    AND c.relkind = 'r' AND c.relpersistence = 'p' AND c.relreplident <> 'f' AND NOT EXISTS (
        SELECT FROM pg_index i
        WHERE i.indrelid = c.oid AND i.indisvalid AND i.indimmediate
          AND CASE c.relreplident
              WHEN 'd' THEN i.indisprimary WHEN 'i' THEN i.indisreplident ELSE false END
    )
    GROUP BY c.oid ORDER BY 1
"""
