"""When the gate last looked at a publication.

Revision ID: 0019
Revises: 0018
"""

from __future__ import annotations

from alembic import op

revision: str = "0019"
down_revision: str | None = "0018"
branch_labels: str | None = None
depends_on: str | None = None


def upgrade() -> None:
    """Looks at what is there: an interrupted upgrade can be run again."""
    op.execute("ALTER TABLE flowshift.publications ADD COLUMN IF NOT EXISTS looked_at timestamptz")


def downgrade() -> None:
    """Drop it: the revision before has nothing that looks."""
    op.execute("ALTER TABLE flowshift.publications DROP COLUMN looked_at")
