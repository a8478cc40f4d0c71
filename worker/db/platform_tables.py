"""The platform's tables, found by the search path.

On a platform's own database they may have more columns, `json` for `jsonb` or time without zone; what
`info={"needed": False}` marks may be absent.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Column, ForeignKey, Index, Table, UniqueConstraint, text
from sqlalchemy.dialects.postgresql import JSON

from worker.db.columns import EMPTY, json_b, metadata, time, time_now, uuid_key

FILLED: Mapping[str, Mapping[str, str]] = {"bot_workflow_versions": {"is_in_library": "false"}}
"""Columns that later platforms have besides: what a new row holds there if they insist on a value."""

_NOT_NEEDED: dict[Any, Any] = {"needed": False}

DRAFT: sa.ColumnElement[str] = sa.literal_column("'draft'")
"""The status of a draft, as a literal without a type: the column may be an enumeration or a domain."""

bots = Table(
    "bots",
    metadata,
    Column("id", sa.Integer, sa.Identity(), primary_key=True, info=_NOT_NEEDED),
    Column("bot_id", sa.String(50), nullable=False, unique=True),
    Column("user_id", sa.Integer, info=_NOT_NEEDED),
    Column("name", sa.String(100), nullable=False),
    Column("workflow", JSON(none_as_null=True)),
    Column("use_workflow_v2", sa.Boolean, nullable=False, server_default=text("false")),
    Column("legacy_workflow", JSON(none_as_null=True)),
    Column(
        "created_at", sa.DateTime(timezone=True), server_default=text("now()"), info=_NOT_NEEDED
    ),
    Column("updated_at", sa.DateTime(timezone=True), server_default=text("now()")),
)

versions = Table(
    "bot_workflow_versions",
    metadata,
    uuid_key(),
    Column("bot_id", sa.String(50), ForeignKey("bots.bot_id", ondelete="CASCADE"), nullable=False),
    Column("version", sa.String(50), nullable=False),
    Column("status", sa.String(20), nullable=False, server_default=text("'draft'")),
    Column("graph", json_b(), nullable=False),
    Column("environment_variables", json_b(), server_default=EMPTY),
    Column("conversation_variables", json_b(), server_default=EMPTY),
    Column("features", json_b(), server_default=EMPTY),
    Column("created_by", sa.String(36)),
    time_now("created_at"),
    time_now("updated_at"),
    time("published_at"),
    UniqueConstraint("bot_id", "version", name="uq_bot_workflow_version"),
    Index("idx_bot_workflow_versions_bot_id", "bot_id"),
    Index("idx_bot_workflow_versions_status", "bot_id", "status"),
    Index(
        "uq_bot_workflow_versions_draft",
        "bot_id",
        unique=True,
        postgresql_where=text("status = 'draft'"),
    ),
)

execution_runs = Table(
    "workflow_execution_runs",
    metadata,
    uuid_key(),
    Column("bot_id", sa.String(50), ForeignKey("bots.bot_id", ondelete="CASCADE"), nullable=False),
    Column("workflow_version_id", sa.Uuid(), ForeignKey("bot_workflow_versions.id")),
    Column("session_id", sa.String(255)),
    Column("user_id", sa.String(36)),
    Column("graph_snapshot", json_b(), nullable=False),
    Column("inputs", json_b()),
    Column("outputs", json_b()),
    Column("status", sa.String(20), nullable=False, server_default=text("'running'")),
    Column("error_message", sa.Text),
    time_now("started_at"),
    time("finished_at"),
    Column("elapsed_time", sa.Integer),
    Column("total_tokens", sa.Integer, server_default=text("0")),
    Column("total_steps", sa.Integer, server_default=text("0")),
    time_now("created_at"),
    Index("idx_workflow_runs_bot_id", "bot_id"),
    Index("idx_workflow_runs_session", "session_id"),
    Index("idx_workflow_runs_created_at", "created_at"),
)

node_executions = Table(
    "workflow_node_executions",
    metadata,
    uuid_key(),
    Column(
        "workflow_run_id",
        sa.Uuid(),
        ForeignKey("workflow_execution_runs.id", ondelete="CASCADE"),
        nullable=False,
    ),
    Column("node_id", sa.String(255), nullable=False),
    Column("node_type", sa.String(50), nullable=False),
    Column("execution_order", sa.Integer, nullable=False),
    Column("inputs", json_b()),
    Column("outputs", json_b()),
    Column("process_data", json_b()),
    Column("status", sa.String(20), nullable=False),
    Column("error_message", sa.Text),
    time_now("started_at"),
    time("finished_at"),
    Column("elapsed_time", sa.Integer),
    Column("tokens_used", sa.Integer, server_default=text("0")),
    Column("is_truncated", sa.Boolean, server_default=text("false")),
    Column("truncated_fields", json_b()),
    time_now("created_at"),
    Index("idx_node_exec_run_id", "workflow_run_id"),
)

PLATFORM_TABLES = (bots, versions, execution_runs, node_executions)
