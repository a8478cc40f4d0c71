"""Let runs execute drafts: what kind a run is, and what its executions came to.

Revision ID: 0003
Revises: 0002
"""

from __future__ import annotations

from alembic import op

from worker.log import get_logger

revision: str = "0003"
down_revision: str | None = "0002"
branch_labels: str | None = None
depends_on: str | None = None

log = get_logger("flowshift.migrations")

# Constant defaults: no table is rewritten, and each lock is held for an instant.
RUNS = """
ALTER TABLE flowshift.runs
    ADD COLUMN kind text NOT NULL DEFAULT 'convert',
    ADD CONSTRAINT runs_kind_known CHECK (kind IN ('convert', 'validate'))
"""

BATCHES = """
ALTER TABLE flowshift.batches
    ADD COLUMN validated integer NOT NULL DEFAULT 0,
    ADD COLUMN overhead jsonb NOT NULL DEFAULT '{}'
"""

LEDGER = "ALTER TABLE flowshift.ledger ADD COLUMN overhead_us bigint"


def upgrade() -> None:
    """Columns only; rows that are there keep their meaning."""
    for sql in (RUNS, BATCHES, LEDGER):
        op.execute(sql)
    for column in ("runs.kind", "batches.validated", "batches.overhead", "ledger.overhead_us"):
        log.info("column.created", column=f"flowshift.{column}")


def downgrade() -> None:
    """Drop the columns, with what they hold."""
    op.execute("ALTER TABLE flowshift.ledger DROP COLUMN overhead_us")
    op.execute("ALTER TABLE flowshift.batches DROP COLUMN overhead, DROP COLUMN validated")
    op.execute("ALTER TABLE flowshift.runs DROP CONSTRAINT runs_kind_known, DROP COLUMN kind")
