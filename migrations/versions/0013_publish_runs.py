"""Let runs publish: their kind.

Revision ID: 0013
Revises: 0012
"""

from __future__ import annotations

from alembic import op

revision: str = "0013"
down_revision: str | None = "0012"
branch_labels: str | None = None
depends_on: str | None = None

CONSTRAINT = (
    "ALTER TABLE flowshift.runs DROP CONSTRAINT runs_kind_known,"
    " ADD CONSTRAINT runs_kind_known CHECK (kind IN ({}))"
)


def upgrade() -> None:
    """In the transaction that notes the revision: an interrupted upgrade can be run again."""
    op.execute(CONSTRAINT.format("'convert', 'validate', 'publish'"))


def downgrade() -> None:
    """Delete the runs that published, which the revision before does not know; bots stay as they are."""
    op.execute("DELETE FROM flowshift.runs WHERE kind = 'publish'")
    op.execute(CONSTRAINT.format("'convert', 'validate'"))
