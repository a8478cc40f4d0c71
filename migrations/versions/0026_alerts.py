"""Alerts: the state of each alert rule.

Revision ID: 0026
Revises: 0025
"""

from __future__ import annotations

from alembic import op

from migrations import operations as do

revision: str = "0026"
down_revision: str | None = "0025"
branch_labels: str | None = None
depends_on: str | None = None

log = do.log

ALERTS = """
CREATE TABLE IF NOT EXISTS flowshift.alerts (
    rule text PRIMARY KEY,
    state text NOT NULL,
    since timestamptz NOT NULL,
    clear_since timestamptz,
    judged_at timestamptz NOT NULL,
    said text,
    CONSTRAINT alerts_state_known CHECK (state IN ('ok', 'pending', 'firing'))
)
"""


def upgrade() -> None:
    """Looks at what is there: an interrupted upgrade can be run again."""
    op.execute(ALERTS)
    log.info("table.created", table="flowshift.alerts")


def downgrade() -> None:
    """Drop it: every rule begins anew."""
    op.execute("DROP TABLE IF EXISTS flowshift.alerts")
    log.info("table.dropped", table="flowshift.alerts")
