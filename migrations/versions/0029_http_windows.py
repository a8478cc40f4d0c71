"""Keep how long requests to `flowshift serve` took in the last minutes, for alert rules.

Revision ID: 0029
Revises: 0028
"""

from __future__ import annotations

from alembic import op

from migrations import operations as do

revision: str = "0029"
down_revision: str | None = "0028"
branch_labels: str | None = None
depends_on: str | None = None

log = do.log

WINDOWS = """
CREATE TABLE IF NOT EXISTS flowshift.http_windows (
    instance_id uuid NOT NULL,
    ended_at timestamptz NOT NULL,
    durations bigint[] NOT NULL,
    statuses bigint[] NOT NULL,
    PRIMARY KEY (instance_id, ended_at)
)
"""


def upgrade() -> None:
    """Looks at what is there: an interrupted upgrade can be run again."""
    op.execute(WINDOWS)
    log.info("table.created", table="flowshift.http_windows")


def downgrade() -> None:
    """Drop it: the last minutes are forgotten."""
    op.execute("DROP TABLE IF EXISTS flowshift.http_windows")
    log.info("table.dropped", table="flowshift.http_windows")
