"""Note what each draft was made of, so that a later run need not convert the same again.

Revision ID: 0030
Revises: 0029
"""

from __future__ import annotations

from alembic import op

revision: str = "0030"
down_revision: str | None = "0029"
branch_labels: str | None = None
depends_on: str | None = None


def upgrade() -> None:
    """Add an empty column, which rewrites no row: drafts of runs before are converted once more."""
    op.execute("ALTER TABLE flowshift.ledger ADD COLUMN IF NOT EXISTS source_hash bigint")


def downgrade() -> None:
    """Drop it: every run converts every bot."""
    op.execute("ALTER TABLE flowshift.ledger DROP COLUMN source_hash")
