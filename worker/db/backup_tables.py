"""Tables of backups: the record of those of the database, and V1 of bots that are finished with it."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy import CheckConstraint, Column, Table
from sqlalchemy.dialects.postgresql import JSON

from worker.db.columns import metadata, time, time_now
from worker.db.tables import SCHEMA

# The columns from `verified_at` on are of the last verification; 0 differences: the backup is whole.
database_backups = Table(
    "database_backups",
    metadata,
    Column("backup_id", sa.Uuid(), primary_key=True),
    time_now("taken_at"),
    Column("taken_by", sa.Text, nullable=False),
    Column("directory", sa.Text, nullable=False),  # the last part of its path: machines differ
    Column("snapshot", sa.Text),  # as pg_current_snapshot() has it
    Column("bots", sa.BigInteger),
    time("verified_at"),
    Column("verified_by", sa.Text),
    Column("duration_ms", sa.BigInteger),
    Column("differences", sa.BigInteger),
    CheckConstraint(
        "(verified_at IS NULL) = (verified_by IS NULL)"
        " AND (verified_at IS NULL) = (duration_ms IS NULL)"
        " AND (verified_at IS NULL) = (differences IS NULL)"
        " AND (verified_at IS NULL OR bots IS NOT NULL AND snapshot IS NOT NULL)",
        name="database_backups_verified_whole",
    ),
    schema=SCHEMA,
)

# V1 that `flowshift finish` has cleared, as it was: then the only copy in this database. `json` keeps its
# text as it is. The hash is over the three texts. No foreign key, as for `backups`.
finished_bots = Table(
    "finished_bots",
    metadata,
    Column("bot_id", sa.Text, primary_key=True),
    Column("workflow", JSON),  # bots.workflow
    Column("legacy_workflow", JSON),  # bots.legacy_workflow
    Column("backup", JSON),  # flowshift.backups
    time("backed_up_at"),
    Column("content_hash", sa.Text, nullable=False),
    time_now("finished_at"),
    Column("finished_by", sa.Text, nullable=False),
    CheckConstraint(
        "num_nonnulls(workflow, legacy_workflow, backup) > 0", name="finished_bots_hold_something"
    ),
    CheckConstraint("(backup IS NULL) = (backed_up_at IS NULL)", name="finished_bots_backup_whole"),
    schema=SCHEMA,
)

TABLES = (database_backups, finished_bots)
