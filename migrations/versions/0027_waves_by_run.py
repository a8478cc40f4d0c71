"""Find the wave that a run publishes by an index: each of its batches asks for it.

Revision ID: 0027
Revises: 0026
"""

from __future__ import annotations

from migrations import operations as do
from worker.db.schema.catalog import Index

revision: str = "0027"
down_revision: str | None = "0026"
branch_labels: str | None = None
depends_on: str | None = None

TABLE = "waves"
BY_RUN = Index("waves_by_run", ("run_id",), where="run_id IS NOT NULL")


def upgrade() -> None:
    """Beside traffic; it looks at what is there: an interrupted upgrade can be run again."""
    do.build_own_index(TABLE, BY_RUN)


def downgrade() -> None:
    """Without it."""
    do.drop_own_index(BY_RUN.name)
