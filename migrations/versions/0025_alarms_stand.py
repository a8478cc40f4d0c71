"""Let an alarm stand until it is known what it is, and count executions of unknown statuses.

Revision ID: 0025
Revises: 0024
"""

from __future__ import annotations

from alembic import op

revision: str = "0025"
down_revision: str | None = "0024"
branch_labels: str | None = None
depends_on: str | None = None

COLUMNS = """
ALTER TABLE flowshift.gate_looks ADD COLUMN IF NOT EXISTS alarmed jsonb,
    ADD COLUMN IF NOT EXISTS unknown jsonb
"""

BECAUSE = """
ALTER TABLE flowshift.publications DROP CONSTRAINT publications_held_because_known,
    ADD CONSTRAINT publications_held_because_known CHECK (held_because IN ({}))
"""

OUTCOMES = """
ALTER TABLE flowshift.gate_readings DROP CONSTRAINT gate_readings_outcome_known,
    ADD CONSTRAINT gate_readings_outcome_known CHECK (outcome IN ({}))
"""

WITHOUT_BECAUSE = "'inconclusive', 'failed', 'disturbed', 'health', 'person'"


def upgrade() -> None:
    """In the transaction that notes the revision: an interrupted upgrade can be run again."""
    op.execute(COLUMNS)
    op.execute(BECAUSE.format(f"'alarm', {WITHOUT_BECAUSE}"))
    op.execute(
        OUTCOMES.format("'watching', 'passed', 'alarmed', 'failed', 'disturbed', 'inconclusive'")
    )


def downgrade() -> None:
    """What is held for an alarm is held as failed, which a person decides on; its looks are forgotten."""
    op.execute(
        "UPDATE flowshift.publications SET held_because = 'failed' WHERE held_because = 'alarm'"
    )
    op.execute("DELETE FROM flowshift.gate_readings WHERE outcome = 'alarmed'")
    op.execute(OUTCOMES.format("'watching', 'passed', 'failed', 'disturbed', 'inconclusive'"))
    op.execute(BECAUSE.format(WITHOUT_BECAUSE))
    op.execute("ALTER TABLE flowshift.gate_looks DROP COLUMN alarmed, DROP COLUMN unknown")
