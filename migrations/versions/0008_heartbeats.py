"""Heartbeats: by which every process that keeps running shows that it works.

Revision ID: 0008
Revises: 0007
"""

from __future__ import annotations

from alembic import op

from migrations import operations as do

revision: str = "0008"
down_revision: str | None = "0007"
branch_labels: str | None = None
depends_on: str | None = None

log = do.log

# Half of each page stays free, and no index holds what changes: an update stays in its page (HOT).
HEARTBEATS = """
CREATE TABLE IF NOT EXISTS flowshift.heartbeats (
    instance_id uuid PRIMARY KEY,
    kind text NOT NULL,
    name text NOT NULL,
    host text NOT NULL,
    pid integer NOT NULL,
    version text NOT NULL,
    started_at timestamptz NOT NULL DEFAULT now(),
    beat_at timestamptz NOT NULL DEFAULT now(),
    worked_at timestamptz,
    evidence text,
    problem text,
    stopped_at timestamptz,
    CONSTRAINT heartbeats_kind_known CHECK (kind IN ('worker', 'beat', 'flower', 'serve'))
) WITH (fillfactor = 50)
"""


def upgrade() -> None:
    """Looks at what is there: an interrupted upgrade can be run again."""
    op.execute(HEARTBEATS)
    log.info("table.created", table="flowshift.heartbeats")


def downgrade() -> None:
    """Drop it."""
    op.execute("DROP TABLE IF EXISTS flowshift.heartbeats")
    log.info("table.dropped", table="flowshift.heartbeats")
