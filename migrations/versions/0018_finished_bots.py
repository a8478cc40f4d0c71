"""Keep V1 of bots that are finished with it.

Revision ID: 0018
Revises: 0017
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import context, op

from migrations import operations as do
from worker.errors import UsageError

revision: str = "0018"
down_revision: str | None = "0017"
branch_labels: str | None = None
depends_on: str | None = None

log = do.log

FINISHED_BOTS = """
CREATE TABLE IF NOT EXISTS flowshift.finished_bots (
    bot_id text PRIMARY KEY,
    workflow json,
    legacy_workflow json,
    backup json,
    backed_up_at timestamptz,
    content_hash text NOT NULL,
    finished_at timestamptz NOT NULL DEFAULT now(),
    finished_by text NOT NULL,
    CONSTRAINT finished_bots_hold_something
        CHECK (num_nonnulls(workflow, legacy_workflow, backup) > 0),
    CONSTRAINT finished_bots_backup_whole CHECK ((backup IS NULL) = (backed_up_at IS NULL))
)
"""


def upgrade() -> None:
    """Looks at what is there: an interrupted upgrade can be run again."""
    op.execute(FINISHED_BOTS)
    log.info("table.created", table="flowshift.finished_bots")


def refuse_downgrade(connection: sa.Connection) -> None:
    """Raise UsageError if V1 of a bot would be lost without permission."""
    query = sa.text("SELECT count(*) FROM flowshift.finished_bots")
    bots = int(connection.execute(query).scalar_one())
    if bots:
        raise UsageError(
            f"flowshift.finished_bots holds the only V1 of {bots:,} {'bot' if bots == 1 else 'bots'} that"
            " `flowshift finish` has cleared: bring it back with `flowshift finish --undo` first, or"
            " let it go with --drop-backups"
        )


def downgrade() -> None:
    """Drop it, unless that would lose the V1 of a bot without permission."""
    op.execute("LOCK TABLE flowshift.finished_bots IN ACCESS EXCLUSIVE MODE")
    said = context.get_x_argument(as_dictionary=True).get("drop_backups") == "yes"
    if not (said or context.config.attributes.get("drop_backups")):
        refuse_downgrade(op.get_bind())
    op.execute("DROP TABLE flowshift.finished_bots")
    log.info("table.dropped", table="flowshift.finished_bots")
