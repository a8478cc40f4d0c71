"""Create the table of budgets: what the live trials of a run may spend, and have.

Revision ID: 0005
Revises: 0004
"""

from __future__ import annotations

from alembic import op

from worker.log import get_logger

revision: str = "0005"
down_revision: str | None = "0004"
branch_labels: str | None = None
depends_on: str | None = None

log = get_logger("flowshift.migrations")

BUDGETS = """
CREATE TABLE flowshift.budgets (
    run_id bigint PRIMARY KEY,
    max_requests bigint,
    max_tokens bigint,
    max_money numeric,
    requests bigint NOT NULL DEFAULT 0,
    tokens bigint NOT NULL DEFAULT 0,
    money numeric NOT NULL DEFAULT 0,
    created_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT budgets_have_a_limit CHECK (
        num_nonnulls(max_requests, max_tokens, max_money) > 0
    ),
    CONSTRAINT budgets_only_grow_from_zero CHECK (
        requests >= 0 AND tokens >= 0 AND money >= 0
    )
)
"""


def upgrade() -> None:
    """No process uses it yet."""
    op.execute(BUDGETS)
    log.info("table.created", table="flowshift.budgets")


def downgrade() -> None:
    """Drop it with what it holds."""
    op.execute("DROP TABLE flowshift.budgets")
    log.info("table.dropped", table="flowshift.budgets")
