"""The record of backups of the database: one row each, whether it was verified or not."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy import CheckConstraint, Column, Table

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

TABLES = (database_backups,)
