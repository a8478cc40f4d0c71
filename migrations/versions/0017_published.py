"""Let a bot's outcome be `published`, and count it apart from `converted`.

Revision ID: 0017
Revises: 0016
"""

from __future__ import annotations

from alembic import op

revision: str = "0017"
down_revision: str | None = "0016"
branch_labels: str | None = None
depends_on: str | None = None

# The default is evaluated once, so that no row is rewritten.
COLUMN = """
ALTER TABLE flowshift.batches ADD COLUMN IF NOT EXISTS published int NOT NULL DEFAULT 0
"""

CONSTRAINT = """
ALTER TABLE flowshift.ledger DROP CONSTRAINT ledger_outcome_known,
    ADD CONSTRAINT ledger_outcome_known CHECK (outcome IN ({}))
"""

OF_PUBLICATIONS = "run_id IN (SELECT run_id FROM flowshift.runs WHERE kind = 'publish')"


def upgrade() -> None:
    """Name what runs published until now, too, as what it is."""
    op.execute(COLUMN)
    op.execute(CONSTRAINT.format("'converted', 'unchanged', 'published', 'skipped', 'failed'"))
    _rename("converted", "published")
    op.execute(
        "UPDATE flowshift.batches SET published = converted, converted = 0"
        f" WHERE {OF_PUBLICATIONS} AND converted > 0"
    )


def downgrade() -> None:
    """Count them as converted again."""
    _rename("published", "converted")
    op.execute("UPDATE flowshift.batches SET converted = converted + published WHERE published > 0")
    op.execute(CONSTRAINT.format("'converted', 'unchanged', 'skipped', 'failed'"))
    op.execute("ALTER TABLE flowshift.batches DROP COLUMN published")


def _rename(old: str, new: str) -> None:
    op.execute(
        f"UPDATE flowshift.ledger SET outcome = '{new}'"
        f" WHERE {OF_PUBLICATIONS} AND outcome = '{old}'"
    )
