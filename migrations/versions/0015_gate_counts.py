"""What the gate has counted: of waves, their bots, and minutes.

Revision ID: 0015
Revises: 0014
"""

from __future__ import annotations

from alembic import op

from migrations import operations as do

revision: str = "0015"
down_revision: str | None = "0014"
branch_labels: str | None = None
depends_on: str | None = None

log = do.log

LOOKS = """
CREATE TABLE IF NOT EXISTS flowshift.gate_looks (
    publication_id bigint NOT NULL,
    wave integer NOT NULL,
    opened_at timestamptz NOT NULL DEFAULT now(),
    counted_until timestamptz NOT NULL,
    normal jsonb,
    PRIMARY KEY (publication_id, wave)
)
"""

BOTS = """
CREATE TABLE IF NOT EXISTS flowshift.gate_bots (
    publication_id bigint NOT NULL,
    wave integer NOT NULL,
    bot_id text NOT NULL,
    executions bigint NOT NULL DEFAULT 0,
    failed bigint NOT NULL DEFAULT 0,
    slow bigint NOT NULL DEFAULT 0,
    costly bigint NOT NULL DEFAULT 0,
    timed bigint NOT NULL DEFAULT 0,
    metered bigint NOT NULL DEFAULT 0,
    seen bigint NOT NULL DEFAULT 0,
    first text NOT NULL DEFAULT '',
    slow_over_ms double precision,
    costly_over double precision,
    visit_hours smallint[],
    visits integer[],
    PRIMARY KEY (publication_id, wave, bot_id),
    CONSTRAINT gate_bots_visits_by_hour CHECK (
        (visit_hours IS NULL) = (visits IS NULL)
        AND cardinality(visit_hours) IS NOT DISTINCT FROM cardinality(visits))
)
"""

BAD_MINUTES = """
CREATE TABLE IF NOT EXISTS flowshift.gate_bad_minutes (
    publication_id bigint NOT NULL,
    wave integer NOT NULL,
    minute timestamptz NOT NULL,
    bot_id text NOT NULL,
    failed bigint NOT NULL DEFAULT 0,
    slow bigint NOT NULL DEFAULT 0,
    costly bigint NOT NULL DEFAULT 0,
    PRIMARY KEY (publication_id, wave, minute, bot_id)
)
"""

CONTROL_MINUTES = """
CREATE TABLE IF NOT EXISTS flowshift.gate_control_minutes (
    publication_id bigint NOT NULL,
    wave integer NOT NULL,
    minute timestamptz NOT NULL,
    who text NOT NULL,
    executions bigint NOT NULL DEFAULT 0,
    failed bigint NOT NULL DEFAULT 0,
    slow bigint NOT NULL DEFAULT 0,
    costly bigint NOT NULL DEFAULT 0,
    PRIMARY KEY (publication_id, wave, minute, who),
    CONSTRAINT gate_control_minutes_who_known CHECK (who IN ('waves', 'v1'))
)
"""

TABLES = ("gate_looks", "gate_bots", "gate_bad_minutes", "gate_control_minutes")


def upgrade() -> None:
    """Looks at what is there: an interrupted upgrade can be run again."""
    for statement in (LOOKS, BOTS, BAD_MINUTES, CONTROL_MINUTES):
        op.execute(statement)
    for table in TABLES:
        log.info("table.created", table=f"flowshift.{table}")


def downgrade() -> None:
    """Drop them: what they hold can be counted again as long as the executions are there."""
    for table in reversed(TABLES):
        op.execute(f"DROP TABLE flowshift.{table}")
        log.info("table.dropped", table=f"flowshift.{table}")
