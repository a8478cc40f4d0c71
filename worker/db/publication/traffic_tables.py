"""The tables of what the gate has counted: in our own schema, one place for each wave.

An execution is counted here once it is so old that nothing of it can change any more; until then each
look counts it anew. Keys refer to nothing: looks would lock the one row of their publication.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from sqlalchemy import CheckConstraint, Column, Table, text
from sqlalchemy.dialects.postgresql import JSONB

from worker.db.columns import metadata, time_now
from worker.db.tables import SCHEMA


def _wave() -> tuple[Column[Any], Column[Any]]:
    return (
        Column("publication_id", sa.BigInteger, primary_key=True, autoincrement=False),
        Column("wave", sa.Integer, primary_key=True, autoincrement=False),
    )


def _count(name: str) -> Column[Any]:
    return Column(name, sa.BigInteger, nullable=False, server_default=text("0"))


# One row a wave, from its first look on; `opened_at` is when its first bot was published. What was
# created before `counted_until` is in the tables below. `normal` is what the wave is held against
# (`worker.core.publication.normal`), found once; `alarmed` is an alarm that stands
# (`worker.core.publication.alarmed`), and `unknown` how many executions have which status that the gate
# does not know, of those counted.
gate_looks = Table(
    "gate_looks",
    metadata,
    *_wave(),
    time_now("opened_at"),
    Column("counted_until", sa.DateTime(timezone=True), nullable=False),
    Column("normal", JSONB(none_as_null=True)),
    Column("alarmed", JSONB(none_as_null=True)),
    Column("unknown", JSONB(none_as_null=True)),
    schema=SCHEMA,
)

# Of a bot all its executions, and by a digit each the first ones in their order: 1 failed, 2 slow,
# 4 costly, or their sum. `timed` and `metered` say how many had a duration, and a number of tokens;
# `seen` counts those as well that were ignored.
# What is known of V1: over how much a bot is slow and costly, and when visitors came.
gate_bots = Table(
    "gate_bots",
    metadata,
    *_wave(),
    Column("bot_id", sa.Text, primary_key=True),
    _count("executions"),
    _count("failed"),
    _count("slow"),
    _count("costly"),
    _count("timed"),
    _count("metered"),
    _count("seen"),
    Column("first", sa.Text, nullable=False, server_default=text("''")),
    Column("slow_over_ms", sa.Float),
    Column("costly_over", sa.Float),
    Column("visit_hours", sa.ARRAY(sa.SmallInteger)),
    Column("visits", sa.ARRAY(sa.Integer)),
    CheckConstraint(
        "(visit_hours IS NULL) = (visits IS NULL)"
        " AND cardinality(visit_hours) IS NOT DISTINCT FROM cardinality(visits)",
        name="gate_bots_visits_by_hour",
    ),
    schema=SCHEMA,
)

# In which minutes executions of which bots failed, were slow or costly: no others are here.
gate_bad_minutes = Table(
    "gate_bad_minutes",
    metadata,
    *_wave(),
    Column("minute", sa.DateTime(timezone=True), primary_key=True),
    Column("bot_id", sa.Text, primary_key=True),
    _count("failed"),
    _count("slow"),
    _count("costly"),
    schema=SCHEMA,
)

# What the bots that were out before did in each minute, and V1 as far as it leaves rows.
gate_control_minutes = Table(
    "gate_control_minutes",
    metadata,
    *_wave(),
    Column("minute", sa.DateTime(timezone=True), primary_key=True),
    Column("who", sa.Text, primary_key=True),
    _count("executions"),
    _count("failed"),
    _count("slow"),
    _count("costly"),
    CheckConstraint("who IN ('waves', 'v1')", name="gate_control_minutes_who_known"),
    schema=SCHEMA,
)

TABLES = (gate_looks, gate_bots, gate_bad_minutes, gate_control_minutes)
