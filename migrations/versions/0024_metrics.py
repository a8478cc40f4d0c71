"""Keep totals for metrics, note what processes take, and index the runs that are not over.

Revision ID: 0024
Revises: 0023
"""

from __future__ import annotations

from alembic import op

from migrations import operations as do
from worker.db.schema.catalog import Index

revision: str = "0024"
down_revision: str | None = "0023"
branch_labels: str | None = None
depends_on: str | None = None

log = do.log

TOTALS = """
CREATE TABLE IF NOT EXISTS flowshift.metric_totals (
    slot smallint NOT NULL,
    name text NOT NULL,
    labels text[] NOT NULL,
    value double precision NOT NULL,
    counts bigint[] NOT NULL DEFAULT '{}',
    PRIMARY KEY (slot, name, labels)
) WITH (fillfactor = 50)
"""

HEARTBEATS = """
ALTER TABLE flowshift.heartbeats
    ADD COLUMN IF NOT EXISTS cpu_cores double precision,
    ADD COLUMN IF NOT EXISTS memory_bytes bigint
"""

OPEN = Index("runs_open", ("run_id",), where="finished_at IS NULL")


def upgrade() -> None:
    """Looks at what is there: an interrupted upgrade can be run again."""
    op.execute(TOTALS)
    log.info("table.created", table="flowshift.metric_totals")
    op.execute(HEARTBEATS)
    do.build_own_index("runs", OPEN)


def downgrade() -> None:
    """Drop them: totals begin at 0 again afterwards."""
    do.drop_own_index(OPEN.name)
    op.execute("ALTER TABLE flowshift.heartbeats DROP COLUMN cpu_cores, DROP COLUMN memory_bytes")
    op.execute("DROP TABLE flowshift.metric_totals")
    log.info("table.dropped", table="flowshift.metric_totals")
