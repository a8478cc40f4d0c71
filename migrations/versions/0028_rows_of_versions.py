"""Note which row of the platform's holds a published version: unchanged, it need not be hashed again.

Revision ID: 0028
Revises: 0027
"""

from __future__ import annotations

from alembic import op

revision: str = "0028"
down_revision: str | None = "0027"
branch_labels: str | None = None
depends_on: str | None = None


def upgrade() -> None:
    """Add an empty column, which rewrites no row: what was published before is hashed, as it was."""
    op.execute("ALTER TABLE flowshift.publication_bots ADD COLUMN IF NOT EXISTS row_version text")


def downgrade() -> None:
    """Drop it: a preview takes longer."""
    op.execute("ALTER TABLE flowshift.publication_bots DROP COLUMN row_version")
