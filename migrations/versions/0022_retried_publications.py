"""Note of a publication which one it retries.

Revision ID: 0022
Revises: 0021
"""

from __future__ import annotations

from alembic import op

revision: str = "0022"
down_revision: str | None = "0021"
branch_labels: str | None = None
depends_on: str | None = None

STOP = """
UPDATE flowshift.publications
SET state = 'stopped', held_from = NULL, held_because = NULL, finished_at = now(), version = version + 1,
    state_reason = 'the database was taken back to a revision that retries no publications'
WHERE retry_of IS NOT NULL AND bot_count = 0 AND finished_at IS NULL
"""


def upgrade() -> None:
    """A column without a default: no row is rewritten. An interrupted upgrade can be run again."""
    op.execute("ALTER TABLE flowshift.publications ADD COLUMN IF NOT EXISTS retry_of bigint")


def downgrade() -> None:
    """Stop those that wait for their run, which the revision before would take for completed."""
    op.execute(STOP)
    op.execute("ALTER TABLE flowshift.publications DROP COLUMN retry_of")
