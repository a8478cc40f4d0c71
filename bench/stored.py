"""What a run left in the database: when its batches ended, and how large each table and index is."""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa

from bench.measured import TableSize
from worker.db.expressions import BOTS_COUNTED
from worker.db.tables import batches


def ends_of_batches(
    connection: sa.Connection, run_id: int
) -> tuple[float, list[tuple[float, int]]]:
    """When a run's first batch was claimed, and (second, bots) of each that ended; seconds of an epoch."""
    at_s = sa.cast(sa.extract("epoch", batches.c.finished_at), sa.Float)
    began_s = sa.cast(sa.extract("epoch", sa.func.min(batches.c.started_at)), sa.Float)
    of_run = batches.c.run_id == run_id
    rows = connection.execute(
        sa.select(at_s, BOTS_COUNTED).where(of_run, batches.c.finished_at.is_not(None))
    ).all()
    first = connection.scalar(sa.select(began_s).where(of_run))
    return first or 0.0, [(end_s, bots) for end_s, bots in rows]


_TABLES: Final = """
    SELECT n.nspname || '.' || c.relname, greatest(c.reltuples, 0)::bigint, pg_relation_size(c.oid),
           CASE WHEN c.reltoastrelid = 0 THEN 0 ELSE pg_total_relation_size(c.reltoastrelid) END,
           COALESCE((
               SELECT jsonb_object_agg(i.indexrelid::regclass::text, pg_relation_size(i.indexrelid))
               FROM pg_index i WHERE i.indrelid = c.oid
           ), '{}')
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind = 'r' AND n.nspname IN ('public', 'flowshift') AND pg_relation_size(c.oid) > 0
    ORDER BY pg_total_relation_size(c.oid) DESC
"""


def table_sizes(engine: sa.Engine) -> list[TableSize]:
    """Every table that holds something, the largest first; analysed before, so that rows are counted."""
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(sa.text("ANALYZE"))
        return [TableSize(*row) for row in connection.execute(sa.text(_TABLES))]


def wal_position(engine: sa.Engine) -> int:
    """How many bytes of WAL were written since the server's beginning."""
    with engine.connect() as connection:
        query = sa.text("SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')")
        return int(connection.scalar(query) or 0)
