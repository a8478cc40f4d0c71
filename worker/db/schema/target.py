"""What a database shows of the platform's V2: columns of its tables, and a few of its published graphs."""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa

from worker.core.targets.detect import Evidence, Published

GRAPHS_READ: Final = 20
BLOCKS_READ: Final = 2_000
"""At most so many blocks of the versions' table are looked through for published graphs: 16 MB."""


def evidence(connection: sa.Connection) -> Evidence:
    """What tells one target from another; locks nothing, and reads a bounded amount.

    Tables that are not there, or that this role may not read, show nothing.
    """
    rows = connection.execute(_COLUMNS)
    columns = frozenset(f"{row.table_name}.{row.column_name}" for row in rows)
    return Evidence(columns, _published(connection))


def _published(connection: sa.Connection) -> tuple[Published, ...]:
    """A sample of the published graphs that have nodes.

    Of a large table some blocks are read, the same ones each time, as far as the table is the same.
    """
    blocks = connection.execute(_BLOCKS).scalar()
    if blocks is None:
        return ()
    percent = min(100.0, 100.0 * BLOCKS_READ / max(blocks, 1))
    sample = {"percent": percent, "graphs": GRAPHS_READ}
    return tuple(
        Published(frozenset(row.types), row.says_types)
        for row in connection.execute(_PUBLISHED, sample)
    )


_COLUMNS = sa.text("""
    SELECT t.name AS table_name, a.attname::text AS column_name
    FROM unnest(ARRAY['bot_workflow_versions', 'workflow_execution_runs']) AS t (name)
    JOIN pg_attribute a ON a.attrelid = to_regclass(t.name) AND a.attnum > 0 AND NOT a.attisdropped
    ORDER BY t.name, a.attnum
""")

# No number where it is no table, or is one whose versions this role may not read.
_BLOCKS = sa.text("""
    SELECT (
        SELECT pg_relation_size(c.oid) + COALESCE(sum(pg_relation_size(p.relid)), 0)
        FROM pg_partition_tree(c.oid) p WHERE p.relid <> c.oid
    )::float8 / current_setting('block_size')::float8
    FROM pg_class c
    JOIN pg_attribute s ON s.attrelid = c.oid AND s.attname = 'status' AND NOT s.attisdropped
    JOIN pg_attribute g ON g.attrelid = c.oid AND g.attname = 'graph' AND NOT g.attisdropped
    WHERE c.oid = to_regclass('bot_workflow_versions') AND c.relkind IN ('r', 'p')
      AND has_schema_privilege(c.relnamespace, 'USAGE')
      AND has_column_privilege(c.oid, s.attnum, 'SELECT')
      AND has_column_privilege(c.oid, g.attnum, 'SELECT')
""")

# `status` as text: it may be an enumeration without that label.
_PUBLISHED = sa.text("""
    SELECT array_agg(DISTINCT n.node ->> 'type') FILTER (WHERE n.node ->> 'type' IS NOT NULL) AS types,
           bool_and(n.node #>> '{data,type}' IS NOT DISTINCT FROM n.node ->> 'type') AS says_types
    FROM (
        SELECT v.ctid AS place, v.graph::jsonb -> 'nodes' AS nodes
        FROM bot_workflow_versions v TABLESAMPLE SYSTEM (:percent) REPEATABLE (0)
        WHERE v.status::text = 'published'
          AND jsonb_typeof(v.graph::jsonb -> 'nodes') = 'array'
          AND v.graph::jsonb -> 'nodes' <> '[]'
        LIMIT :graphs
    ) s
    CROSS JOIN LATERAL jsonb_array_elements(s.nodes) AS n (node)
    GROUP BY s.place
    HAVING count(n.node ->> 'type') > 0
""")
