"""Call columns what they are called everywhere: a batch is enqueued, and a run is parked.

Revision ID: 0012
Revises: 0011
"""

from __future__ import annotations

from alembic import op

revision: str = "0012"
down_revision: str | None = "0011"
branch_labels: str | None = None
depends_on: str | None = None

BATCHES = "ALTER TABLE flowshift.batches RENAME COLUMN {} TO {}"
RUNS = "ALTER TABLE flowshift.runs RENAME COLUMN {}_{} TO {}_{}"
CONSTRAINT = "ALTER TABLE flowshift.runs RENAME CONSTRAINT runs_{}_whole TO runs_{}_whole"
PARKED = ("batch", "until", "check", "reason")


def upgrade() -> None:
    """In the transaction that notes the revision: an interrupted upgrade can be run again."""
    op.execute(BATCHES.format("published_at", "enqueued_at"))
    _rename("held", "parked")


def downgrade() -> None:
    """Rename them back."""
    op.execute(BATCHES.format("enqueued_at", "published_at"))
    _rename("parked", "held")


def _rename(old: str, new: str) -> None:
    for what in PARKED:
        op.execute(RUNS.format(old, what, new, what))
    op.execute(CONSTRAINT.format(old, new))
