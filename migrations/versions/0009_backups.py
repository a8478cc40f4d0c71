"""Backups of V1 in our own schema, for platforms whose `bots` is not to be updated.

Revision ID: 0009
Revises: 0008
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import context, op

from migrations import operations as do
from worker.db.schema.catalog import find_table, qualified
from worker.errors import UsageError

revision: str = "0009"
down_revision: str | None = "0008"
branch_labels: str | None = None
depends_on: str | None = None

log = do.log

BACKUPS = """
CREATE TABLE IF NOT EXISTS flowshift.backups (
    bot_id text PRIMARY KEY,
    workflow json NOT NULL,
    backed_up_at timestamptz NOT NULL DEFAULT now()
)
"""


def upgrade() -> None:
    """Looks at what is there: an interrupted upgrade can be run again."""
    op.execute(BACKUPS)
    log.info("table.created", table="flowshift.backups")


def refuse_downgrade(connection: sa.Connection) -> None:
    """Raise UsageError if a bot's only backup would be lost without permission."""
    lost = _only_copies(connection)
    if lost:
        raise UsageError(
            f"flowshift.backups holds the only backup of V1 for {lost:,} {'bot' if lost == 1 else 'bots'}:"
            " copy them into bots.legacy_workflow or a file first (docs/how-to/backups.md), or let"
            " them go with --drop-backups"
        )


def downgrade() -> None:
    """Drop it, unless that would lose a backup without permission."""
    op.execute("LOCK TABLE flowshift.backups IN ACCESS EXCLUSIVE MODE")
    if not _may_be_dropped():
        refuse_downgrade(op.get_bind())
    op.execute("DROP TABLE flowshift.backups")
    log.info("table.dropped", table="flowshift.backups")


def _may_be_dropped() -> bool:
    """Whether `flowshift db downgrade --drop-backups` or `alembic -x drop_backups=yes` says so."""
    said = context.get_x_argument(as_dictionary=True)
    return said.get("drop_backups") == "yes" or bool(context.config.attributes.get("drop_backups"))


def _only_copies(connection: sa.Connection) -> int:
    """How many backups are not in `bots.legacy_workflow` besides, as they are."""
    found = find_table(connection, "bots")
    if found is None or "legacy_workflow" not in found.columns:
        query = "SELECT count(*) FROM flowshift.backups"
    else:
        query = (
            "SELECT count(*) FROM flowshift.backups k WHERE NOT EXISTS ("
            f"SELECT FROM {qualified(found.schema, found.name)} b"
            ' WHERE b.bot_id COLLATE "default" = k.bot_id'
            f" AND b.legacy_workflow::text = {_as_in_column(found.columns['legacy_workflow'].type)})"
        )
    return int(connection.execute(sa.text(query)).scalar_one())


def _as_in_column(type_name: str) -> str:
    """The text of a backup once it is in a column of that type: jsonb has its own way to write it."""
    return "k.workflow::jsonb::text" if type_name == "jsonb" else "k.workflow::text"
