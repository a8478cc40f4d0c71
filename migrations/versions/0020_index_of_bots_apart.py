"""Index the bots that need a look, and no longer those that are back: rolling back writes one entry less.

Revision ID: 0020
Revises: 0019
"""

from __future__ import annotations

from migrations import operations as do
from worker.db.schema.catalog import Index

revision: str = "0020"
down_revision: str | None = "0019"
branch_labels: str | None = None
depends_on: str | None = None

TABLE = "publication_bots"
COLUMNS = ("publication_id", "state", "code", "bot_id")
APART = Index(
    "publication_bots_apart", COLUMNS, where="state IN ('skipped', 'failed', 'quarantined')"
)
OUT = Index(
    "publication_bots_out",
    COLUMNS,
    where="NOT (state IN ('pending', 'published', 'confirmed'))",
)


def upgrade() -> None:
    """Beside traffic; each step looks at what is there: an interrupted upgrade can be run again."""
    do.build_own_index(TABLE, APART)
    do.drop_own_index(OUT.name)


def downgrade() -> None:
    """The index before."""
    do.build_own_index(TABLE, OUT)
    do.drop_own_index(APART.name)
