"""Note which queues a worker takes messages from: only some take publications.

Revision ID: 0016
Revises: 0015
"""

from __future__ import annotations

from alembic import op

revision: str = "0016"
down_revision: str | None = "0015"
branch_labels: str | None = None
depends_on: str | None = None

# The default is what a worker of the version before takes, which does not say so. It is evaluated
# once, so that no row is rewritten.
HEARTBEATS = """
ALTER TABLE flowshift.heartbeats
    ADD COLUMN IF NOT EXISTS queues text[] NOT NULL DEFAULT '{convert}'
"""


def upgrade() -> None:
    """Looks at what is there: an interrupted upgrade can be run again."""
    op.execute(HEARTBEATS)


def downgrade() -> None:
    """Forget it."""
    op.execute("ALTER TABLE flowshift.heartbeats DROP COLUMN queues")
