"""Note since when a process's heartbeats have come without a gap.

While the database is unavailable no process can renew a lease, and none can beat: a gap in the
heartbeats of all processes distinguishes that from a worker that died.

Revision ID: 0010
Revises: 0009
"""

from __future__ import annotations

from alembic import op

revision: str = "0010"
down_revision: str | None = "0009"
branch_labels: str | None = None
depends_on: str | None = None

# The default is evaluated once, so that no row is rewritten.
HEARTBEATS = """
ALTER TABLE flowshift.heartbeats
    ADD COLUMN IF NOT EXISTS unbroken_since timestamptz NOT NULL DEFAULT now()
"""


def upgrade() -> None:
    """Looks at what is there: an interrupted upgrade can be run again."""
    op.execute(HEARTBEATS)


def downgrade() -> None:
    """Forget it."""
    op.execute("ALTER TABLE flowshift.heartbeats DROP COLUMN unbroken_since")
