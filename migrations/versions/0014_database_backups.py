"""Record backups of the database, and when each was last verified.

Revision ID: 0014
Revises: 0013
"""

from __future__ import annotations

from alembic import op

from migrations import operations as do

revision: str = "0014"
down_revision: str | None = "0013"
branch_labels: str | None = None
depends_on: str | None = None

log = do.log

DATABASE_BACKUPS = """
CREATE TABLE IF NOT EXISTS flowshift.database_backups (
    backup_id uuid PRIMARY KEY,
    taken_at timestamptz NOT NULL DEFAULT now(),
    taken_by text NOT NULL,
    directory text NOT NULL,
    snapshot text,
    bots bigint,
    verified_at timestamptz,
    verified_by text,
    duration_ms bigint,
    differences bigint,
    CONSTRAINT database_backups_verified_whole CHECK (
        (verified_at IS NULL) = (verified_by IS NULL)
        AND (verified_at IS NULL) = (duration_ms IS NULL)
        AND (verified_at IS NULL) = (differences IS NULL)
        AND (verified_at IS NULL OR bots IS NOT NULL AND snapshot IS NOT NULL)
    )
)
"""


def upgrade() -> None:
    """Looks at what is there: an interrupted upgrade can be run again."""
    op.execute(DATABASE_BACKUPS)
    log.info("table.created", table="flowshift.database_backups")


def downgrade() -> None:
    """Drop the record. The backups themselves are files, and stay."""
    op.execute("DROP TABLE flowshift.database_backups")
    log.info("table.dropped", table="flowshift.database_backups")
