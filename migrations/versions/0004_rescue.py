"""Count what went wrong with a batch, and note when a run's planning last moved.

Revision ID: 0004
Revises: 0003
"""

from __future__ import annotations

from alembic import op

revision: str = "0004"
down_revision: str | None = "0003"
branch_labels: str | None = None
depends_on: str | None = None

# Defaults that are no volatile functions, or one evaluated once: no table is rewritten.
BATCHES = """
ALTER TABLE flowshift.batches
    ADD COLUMN losses integer NOT NULL DEFAULT 0,
    ADD COLUMN faults integer NOT NULL DEFAULT 0
"""

RUNS = "ALTER TABLE flowshift.runs ADD COLUMN moved_at timestamptz NOT NULL DEFAULT now()"


def upgrade() -> None:
    """Batches that run right now began without losses."""
    op.execute(BATCHES)
    op.execute(RUNS)


def downgrade() -> None:
    """Forget the counts."""
    op.execute("ALTER TABLE flowshift.batches DROP COLUMN losses, DROP COLUMN faults")
    op.execute("ALTER TABLE flowshift.runs DROP COLUMN moved_at")
