"""Find the batches of a run that are in the queue or at work by an index, past all that are not.

Revision ID: 0031
Revises: 0030
"""

from __future__ import annotations

from migrations import operations as do
from worker.db.schema.catalog import Index

revision: str = "0031"
down_revision: str | None = "0030"
branch_labels: str | None = None
depends_on: str | None = None

TABLE = "batches"
IN_FLIGHT = Index(
    "batches_in_flight",
    ("run_id", "number"),
    where="state = 'running' OR (state = 'pending' AND enqueued_at IS NOT NULL)",
)


def upgrade() -> None:
    """Beside traffic; it looks at what is there: an interrupted upgrade can be run again."""
    do.build_own_index(TABLE, IN_FLIGHT)


def downgrade() -> None:
    """Without it."""
    do.drop_own_index(IN_FLIGHT.name)
