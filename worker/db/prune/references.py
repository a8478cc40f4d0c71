"""Foreign keys of other tables that lead to executions: what they refer to is never deleted.

Deleting it would fail, or delete or empty rows of the other table (CASCADE, SET NULL, SET DEFAULT).
"""

from __future__ import annotations

from typing import Any

import msgspec
import sqlalchemy as sa

from worker.db.schema.catalog import FoundTable, qualified, quoted


class References(msgspec.Struct, frozen=True):
    """The foreign keys as SQL: a run `r` stays where one of the conditions `where` holds.

    `to_nodes`: some key leads to a node, so that nodes have to be locked before they are deleted.
    """

    where: tuple[str, ...] = ()
    to_nodes: bool = False


def find(connection: sa.Connection, runs: FoundTable, nodes: FoundTable) -> References:
    """The foreign keys that lead to runs or nodes, or to partitions of theirs.

    Those of the runs themselves count (a run that resumes another), and those of the nodes to nodes
    of other runs.
    """
    found = connection.execute(_REFERENCES, {"runs": runs.oid, "nodes": nodes.oid}).all()
    return References(
        tuple(_exists(row, nodes) for row in found), any(row.to_nodes for row in found)
    )


def bindless(name: str) -> str:
    """A column's name as SQL for `sqlalchemy.text`, in which a colon would begin a parameter.

    >>> bindless("total:tokens")
    '"total\\\\:tokens"'
    """
    return quoted(name).replace(":", "\\:")


def _exists(row: sa.Row[Any], nodes: FoundTable) -> str:
    other = qualified(row.schema, row.name)
    pairs = " AND ".join(
        f"other.{bindless(here)} = {'node' if row.to_nodes else 'r'}.{bindless(there)}"
        for here, there in zip(row.columns, row.target_columns, strict=True)
    )
    if not row.to_nodes:
        return f"EXISTS (SELECT FROM {other} other WHERE {pairs})"
    # A node that refers to one of its own run goes with it.
    elsewhere = " AND other.workflow_run_id <> r.id" if row.from_nodes else ""
    return (
        f"EXISTS (SELECT FROM {qualified(nodes.schema, nodes.name)} node JOIN {other} other"
        f" ON {pairs} WHERE node.workflow_run_id = r.id{elsewhere})"
    )


# `conparentid`: the keys that PostgreSQL makes for each partition itself are not counted again.
_REFERENCES = sa.text("""
    WITH RECURSIVE family AS (
        SELECT root.oid, root.oid AS root
        FROM unnest(ARRAY[CAST(:runs AS oid), CAST(:nodes AS oid)]) AS root (oid)
        UNION ALL
        SELECT i.inhrelid, f.root FROM family f JOIN pg_inherits i ON i.inhparent = f.oid
    )
    SELECT n.nspname AS schema, c.relname AS name,
           target.root = CAST(:nodes AS oid) AS to_nodes,
           source.root IS NOT NULL AS from_nodes,
           ARRAY(
               SELECT a.attname::text FROM unnest(f.conkey) WITH ORDINALITY AS k (number, place)
               JOIN pg_attribute a ON a.attrelid = f.conrelid AND a.attnum = k.number
               ORDER BY k.place
           ) AS columns,
           ARRAY(
               SELECT a.attname::text FROM unnest(f.confkey) WITH ORDINALITY AS k (number, place)
               JOIN pg_attribute a ON a.attrelid = f.confrelid AND a.attnum = k.number
               ORDER BY k.place
           ) AS target_columns
    FROM pg_constraint f
    JOIN family target ON target.oid = f.confrelid
    LEFT JOIN family source ON source.oid = f.conrelid AND source.root = CAST(:nodes AS oid)
    JOIN pg_class c ON c.oid = f.conrelid
    JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE f.contype = 'f' AND f.conparentid = 0
      -- a node belongs to its run
      AND NOT (source.root IS NOT NULL AND target.root = CAST(:runs AS oid))
    ORDER BY f.oid
""")
