"""Columns of runs for parking, rate limits and the circuit breaker, and of batches for their end.

Revision ID: 0006
Revises: 0005
"""

from __future__ import annotations

from alembic import op

revision: str = "0006"
down_revision: str | None = "0005"
branch_labels: str | None = None
depends_on: str | None = None

ADD = """
ALTER TABLE flowshift.runs
    ADD COLUMN running_since timestamptz,
    ADD COLUMN paced_until timestamptz,
    ADD COLUMN held_batch integer,
    ADD COLUMN held_until timestamptz,
    ADD COLUMN held_check text,
    ADD COLUMN held_reason text,
    ADD CONSTRAINT runs_held_whole CHECK (
        (held_batch IS NULL) = (held_until IS NULL)
        AND (held_batch IS NULL) = (held_check IS NULL)
        AND (held_batch IS NULL) = (held_reason IS NULL)
    )
"""

BATCHES_ENDED = """
CREATE INDEX batches_ended ON flowshift.batches (run_id, finished_at)
WHERE finished_at IS NOT NULL
"""


def upgrade() -> None:
    """Our own tables: small, and a run that goes on meanwhile waits an instant."""
    op.execute(ADD)
    op.execute("UPDATE flowshift.runs SET running_since = started_at WHERE state = 'running'")
    op.execute(BATCHES_ENDED)


def downgrade() -> None:
    """Drop what was added."""
    op.execute("DROP INDEX flowshift.batches_ended")
    op.execute(
        "ALTER TABLE flowshift.runs DROP CONSTRAINT runs_held_whole, DROP COLUMN running_since,"
        " DROP COLUMN paced_until, DROP COLUMN held_batch, DROP COLUMN held_until,"
        " DROP COLUMN held_check, DROP COLUMN held_reason"
    )
