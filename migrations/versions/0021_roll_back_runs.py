"""Let runs roll back: their kind, and the outcome `rolled_back` with its count.

Revision ID: 0021
Revises: 0020
"""

from __future__ import annotations

from alembic import op

revision: str = "0021"
down_revision: str | None = "0020"
branch_labels: str | None = None
depends_on: str | None = None

# The default is evaluated once, so that no row is rewritten.
COLUMN = """
ALTER TABLE flowshift.batches ADD COLUMN IF NOT EXISTS rolled_back int NOT NULL DEFAULT 0
"""

KINDS = """
ALTER TABLE flowshift.runs DROP CONSTRAINT runs_kind_known,
    ADD CONSTRAINT runs_kind_known CHECK (kind IN ({}))
"""

OUTCOMES = """
ALTER TABLE flowshift.ledger DROP CONSTRAINT ledger_outcome_known,
    ADD CONSTRAINT ledger_outcome_known CHECK (outcome IN ({}))
"""


def upgrade() -> None:
    """In the transaction that notes the revision: an interrupted upgrade can be run again."""
    op.execute(COLUMN)
    op.execute(KINDS.format("'convert', 'validate', 'publish', 'roll_back'"))
    op.execute(
        OUTCOMES.format("'converted', 'unchanged', 'published', 'rolled_back', 'skipped', 'failed'")
    )


def downgrade() -> None:
    """Delete the runs that rolled back, which the revision before does not know; bots stay as they are."""
    op.execute("DELETE FROM flowshift.runs WHERE kind = 'roll_back'")
    op.execute("DELETE FROM flowshift.ledger WHERE outcome = 'rolled_back'")
    op.execute(OUTCOMES.format("'converted', 'unchanged', 'published', 'skipped', 'failed'"))
    op.execute(KINDS.format("'convert', 'validate', 'publish'"))
    op.execute("ALTER TABLE flowshift.batches DROP COLUMN rolled_back")
