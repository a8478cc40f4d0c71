"""Foreign keys that lead to executions: whose rows refer to one keep it from being deleted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from worker.db.schema import row_security
from worker.db.schema.catalog import FoundTable, qualified


def find(connection: sa.Connection, runs: FoundTable, nodes: FoundTable) -> Sequence[sa.Row[Any]]:
    """The foreign keys that lead to runs or nodes, or to partitions of theirs.

    Each as (schema, name, to_nodes, from_nodes, columns, target_columns); not that by which a node
    belongs to its run.
    """
    return connection.execute(_FOREIGN_KEYS, {"runs": runs.oid, "nodes": nodes.oid}).all()


def others(found: Sequence[sa.Row[Any]], runs: FoundTable, nodes: FoundTable) -> list[str]:
    """The tables besides the two that refer to them, as SQL, each once."""
    own = {(table.schema, table.name) for table in (runs, nodes)}
    names = [(row.schema, row.name) for row in found if (row.schema, row.name) not in own]
    return [qualified(*name) for name in dict.fromkeys(names)]


def unreadable(connection: sa.Connection, runs: FoundTable, nodes: FoundTable) -> list[str]:
    """Tables that refer to runs or nodes and that this role may not read, each as a sentence."""
    found = find(connection, runs, nodes)
    problems = []
    for other in others(found, runs, nodes):
        columns = [
            column
            for row in found
            if qualified(row.schema, row.name) == other
            for column in row.columns
        ]
        role = connection.execute(_UNREADABLE, {"table": other, "columns": columns}).scalar()
        if role is not None:
            problems.append(
                f"the role {role} has no right to SELECT {other} ({', '.join(columns)}), which refers to"
                " executions, so that no prune can tell what it has to keep: run the SQL of"
                " `flowshift db role` again"
            )
        elif row_security.hides(connection, other):
            problems.append(hidden(other))
    return problems


def hidden(table: str) -> str:
    """What is said of a table whose references this role may not see."""
    return (
        f"row level security may hide rows of {table} that refer to executions, so that a prune would"
        f" delete what it has to keep: CREATE POLICY … ON {table} FOR SELECT TO the role USING (true)"
    )


# `conparentid`: the keys that PostgreSQL makes for each partition itself are not counted again.
_FOREIGN_KEYS = sa.text("""
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

_UNREADABLE = sa.text("""
    SELECT current_user WHERE EXISTS (
        SELECT FROM unnest(CAST(:columns AS text[])) AS name
        WHERE NOT has_column_privilege(CAST(:table AS text), name, 'SELECT')
    ) OR NOT has_schema_privilege(
        (SELECT relnamespace FROM pg_class WHERE oid = to_regclass(:table)), 'USAGE'
    )
""")
