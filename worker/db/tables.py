"""The tables: the platform's, found by the search path, and ours, in the schema `flowshift`.

Queries are built from these. `migrations/` creates the same tables in frozen form, and a test
compares the two, constraint by constraint. On a platform's own database its tables may have more
columns, `json` for `jsonb` or time without zone; what `info={"needed": False}` marks may be absent.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa
from sqlalchemy import CheckConstraint, Column, ForeignKey, Index, Table, UniqueConstraint, text
from sqlalchemy.dialects.postgresql import JSON, JSONB

SCHEMA = "flowshift"

FILLED: Mapping[str, Mapping[str, str]] = {"bot_workflow_versions": {"is_in_library": "false"}}
"""Columns that later platforms have besides: what a new row holds there if they insist on a value."""

metadata = sa.MetaData()

_EMPTY = text("'{}'::jsonb")
_NOT_NEEDED: dict[Any, Any] = {"needed": False}


def _json_b() -> JSONB:
    # None means SQL's NULL. By default SQLAlchemy would write the JSON value null.
    return JSONB(none_as_null=True)


def _time(name: str) -> Column[Any]:
    return Column(name, sa.DateTime(timezone=True))


def _time_now(name: str) -> Column[Any]:
    return Column(name, sa.DateTime(timezone=True), nullable=False, server_default=text("now()"))


def _uuid_key() -> Column[Any]:
    # Adopted tables may have no default here: an INSERT has to give the id.
    return Column("id", sa.Uuid(), primary_key=True, server_default=text("gen_random_uuid()"))


def _count(name: str) -> Column[Any]:
    return Column(name, sa.Integer, nullable=False, server_default=text("0"))


DRAFT: sa.ColumnElement[str] = sa.literal_column("'draft'")
"""The status of a draft, as a literal without a type: the column may be an enumeration or a domain."""

# --- The platform's ---------------------------------------------------------------------------

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
    _uuid_key(),
    Column("bot_id", sa.String(50), ForeignKey("bots.bot_id", ondelete="CASCADE"), nullable=False),
    Column("version", sa.String(50), nullable=False),
    Column("status", sa.String(20), nullable=False, server_default=text("'draft'")),
    Column("graph", _json_b(), nullable=False),
    Column("environment_variables", _json_b(), server_default=_EMPTY),
    Column("conversation_variables", _json_b(), server_default=_EMPTY),
    Column("features", _json_b(), server_default=_EMPTY),
    Column("created_by", sa.String(36)),
    _time_now("created_at"),
    _time_now("updated_at"),
    _time("published_at"),
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
    _uuid_key(),
    Column("bot_id", sa.String(50), ForeignKey("bots.bot_id", ondelete="CASCADE"), nullable=False),
    Column("workflow_version_id", sa.Uuid(), ForeignKey("bot_workflow_versions.id")),
    Column("session_id", sa.String(255)),
    Column("user_id", sa.String(36)),
    Column("graph_snapshot", _json_b(), nullable=False),
    Column("inputs", _json_b()),
    Column("outputs", _json_b()),
    Column("status", sa.String(20), nullable=False, server_default=text("'running'")),
    Column("error_message", sa.Text),
    _time_now("started_at"),
    _time("finished_at"),
    Column("elapsed_time", sa.Integer),
    Column("total_tokens", sa.Integer, server_default=text("0")),
    Column("total_steps", sa.Integer, server_default=text("0")),
    _time_now("created_at"),
    Index("idx_workflow_runs_bot_id", "bot_id"),
    Index("idx_workflow_runs_session", "session_id"),
    Index("idx_workflow_runs_created_at", "created_at"),
)

node_executions = Table(
    "workflow_node_executions",
    metadata,
    _uuid_key(),
    Column(
        "workflow_run_id",
        sa.Uuid(),
        ForeignKey("workflow_execution_runs.id", ondelete="CASCADE"),
        nullable=False,
    ),
    Column("node_id", sa.String(255), nullable=False),
    Column("node_type", sa.String(50), nullable=False),
    Column("execution_order", sa.Integer, nullable=False),
    Column("inputs", _json_b()),
    Column("outputs", _json_b()),
    Column("process_data", _json_b()),
    Column("status", sa.String(20), nullable=False),
    Column("error_message", sa.Text),
    _time_now("started_at"),
    _time("finished_at"),
    Column("elapsed_time", sa.Integer),
    Column("tokens_used", sa.Integer, server_default=text("0")),
    Column("is_truncated", sa.Boolean, server_default=text("false")),
    Column("truncated_fields", _json_b()),
    _time_now("created_at"),
    Index("idx_node_exec_run_id", "workflow_run_id"),
)

# --- Ours -------------------------------------------------------------------------------------

runs = Table(
    "runs",
    metadata,
    Column("run_id", sa.BigInteger, sa.Identity(), primary_key=True),
    Column("request_id", sa.Text, nullable=False, unique=True),
    Column("kind", sa.Text, nullable=False, server_default=text("'convert'")),
    Column("parent_run_id", sa.BigInteger, ForeignKey(f"{SCHEMA}.runs.run_id")),
    Column("state", sa.Text, nullable=False),
    Column("state_reason", sa.Text),
    Column("options", _json_b(), nullable=False),
    Column("dry_run", sa.Boolean, nullable=False),
    Column("requested_by", sa.Text, nullable=False),
    Column("converter_version", sa.Text, nullable=False),
    Column("planned_through", sa.Text),  # the last bot_id that is in a batch
    Column("batch_count", sa.Integer, nullable=False, server_default=text("0")),
    Column("bot_count", sa.BigInteger, nullable=False, server_default=text("0")),
    Column("version", sa.BigInteger, nullable=False, server_default=text("0")),
    _time_now("created_at"),
    _time("started_at"),
    _time("finished_at"),
    _time("running_since"),  # not paused since
    _time("paced_until"),  # no batch begins before, where max_rate is set
    # While the run waits: the batch whose message waits for all, until when that holds, and why.
    Column("parked_batch", sa.Integer),
    _time("parked_until"),
    Column("parked_check", sa.Text),
    Column("parked_reason", sa.Text),
    _time_now("moved_at"),  # its planning was enqueued, or added batches
    _time("ledger_pruned_at"),  # the ledger's rows of this run are gone, but for those still needed
    CheckConstraint(
        "state IN ('planning', 'running', 'paused', 'finishing', 'completed',"
        " 'completed_with_failures', 'cancelled', 'failed')",
        name="runs_state_known",
    ),
    CheckConstraint(
        "(state IN ('completed', 'completed_with_failures', 'cancelled', 'failed'))"
        " = (finished_at IS NOT NULL)",
        name="runs_finished_when_over",
    ),
    CheckConstraint(
        "(parked_batch IS NULL) = (parked_until IS NULL)"
        " AND (parked_batch IS NULL) = (parked_check IS NULL)"
        " AND (parked_batch IS NULL) = (parked_reason IS NULL)",
        name="runs_parked_whole",
    ),
    CheckConstraint("kind IN ('convert', 'validate')", name="runs_kind_known"),
    Index("runs_by_parent", "parent_run_id"),
    schema=SCHEMA,
)

batches = Table(
    "batches",
    metadata,
    Column(
        "run_id",
        sa.BigInteger,
        ForeignKey(f"{SCHEMA}.runs.run_id", ondelete="CASCADE"),
        primary_key=True,
    ),
    Column("number", sa.Integer, primary_key=True, autoincrement=False),
    # Either every bot after one id through another, or the bots listed.
    Column("after_bot_id", sa.Text),
    Column("through_bot_id", sa.Text),
    Column("bot_ids", sa.ARRAY(sa.Text)),
    Column("bot_count", sa.Integer, nullable=False),
    Column("state", sa.Text, nullable=False, server_default=text("'pending'")),
    _count("attempt"),
    _time("lease_until"),
    _time("enqueued_at"),
    _time("started_at"),
    _time("finished_at"),
    Column("worker", sa.Text),
    _count("converted"),
    _count("unchanged"),
    _count("skipped"),
    _count("failed"),
    _count("validated"),
    _count("warnings"),
    Column("codes", _json_b(), nullable=False, server_default=_EMPTY),  # by "outcome:code"
    Column("overhead", _json_b(), nullable=False, server_default=_EMPTY),  # V2's time over V1's
    Column("duration_ms", sa.Integer),
    Column("error", sa.Text),  # why it failed, or what happened to it last
    _count("losses"),  # workers that it lost
    _count("faults"),  # times that it was postponed after its claim: a server was away or busy
    CheckConstraint("number >= 1", name="batches_number_from_one"),
    CheckConstraint("(through_bot_id IS NULL) <> (bot_ids IS NULL)", name="batches_range_or_list"),
    CheckConstraint(
        "state IN ('pending', 'running', 'done', 'failed')", name="batches_state_known"
    ),
    CheckConstraint(
        "state <> 'done' OR finished_at IS NOT NULL", name="batches_finished_when_done"
    ),
    CheckConstraint(
        "state <> 'running' OR lease_until IS NOT NULL", name="batches_leased_when_running"
    ),
    Index(
        "batches_open",
        "run_id",
        "number",
        postgresql_where=text("state IN ('pending', 'running')"),
    ),
    Index(
        "batches_ended",
        "run_id",
        "finished_at",
        postgresql_where=text("finished_at IS NOT NULL"),
    ),
    schema=SCHEMA,
)

# One row per bot and run. Its run_id has no foreign key: batches insert hundreds of rows at a
# time, and each would look up, and share-lock, the one row of `runs` that counts progress. Its
# bot_id has none because the record outlives the bot, and is text in the database's collation, so
# that it joins and sorts with bots.bot_id as it is.
ledger = Table(
    "ledger",
    metadata,
    Column("bot_id", sa.Text, primary_key=True),
    Column("run_id", sa.BigInteger, primary_key=True, autoincrement=False),
    Column("batch", sa.Integer, nullable=False),
    Column("outcome", sa.Text, nullable=False),
    Column("code", sa.Text),
    Column("message", sa.Text),
    Column("warnings", _json_b()),
    Column("traceback", sa.Text),
    Column("draft_hash", sa.BigInteger),
    Column("overhead_us", sa.BigInteger),  # null where the draft was not executed
    _time_now("recorded_at"),
    CheckConstraint(
        "outcome IN ('converted', 'unchanged', 'skipped', 'failed')", name="ledger_outcome_known"
    ),
    CheckConstraint(
        "(outcome IN ('skipped', 'failed')) = (code IS NOT NULL)", name="ledger_code_says_why"
    ),
    Index("ledger_failed", "run_id", "code", "bot_id", postgresql_where=text("outcome = 'failed'")),
    Index("ledger_by_run", "run_id", "bot_id"),
    schema=SCHEMA,
)

audit = Table(
    "audit",
    metadata,
    Column("id", sa.BigInteger, sa.Identity(), primary_key=True),
    _time_now("at"),
    Column("run_id", sa.BigInteger),
    Column("actor", sa.Text, nullable=False),
    Column("action", sa.Text, nullable=False),
    Column("reason", sa.Text),
    Column("detail", _json_b(), nullable=False, server_default=_EMPTY),
    Index("audit_by_run", "run_id", "id"),
    Index("audit_by_time", "at"),
    schema=SCHEMA,
)

# One row per prune, kept current by each of its batches. `slot` is the time of day that the beat
# began it for: unique, so that of two beats one begins it.
prunes = Table(
    "prunes",
    metadata,
    Column("prune_id", sa.BigInteger, sa.Identity(), primary_key=True),
    Column("slot", sa.DateTime(timezone=True), unique=True),
    Column("actor", sa.Text, nullable=False),
    Column("state", sa.Text, nullable=False, server_default=text("'running'")),
    Column("reason", sa.Text),
    Column("cutoffs", _json_b(), nullable=False),  # by kind
    Column("gone", _json_b(), nullable=False, server_default=_EMPTY),  # how many, by kind
    _time_now("started_at"),
    _time_now("moved_at"),
    _time("finished_at"),
    CheckConstraint("state IN ('running', 'done', 'stopped')", name="prunes_state_known"),
    CheckConstraint(
        "(state = 'running') = (finished_at IS NULL)", name="prunes_finished_when_over"
    ),
    schema=SCHEMA,
)

# Partitions that are being dropped. One that was detached and not yet dropped, because the prune
# died between the two, is found again by this.
leaving_partitions = Table(
    "leaving_partitions",
    metadata,
    Column("oid", sa.BigInteger, primary_key=True, autoincrement=False),
    Column("name", sa.Text, nullable=False),
    _time_now("at"),
    schema=SCHEMA,
)

# What live trials may spend, and have. Every request of every process updates its run's row, so it is
# apart from `runs`, whose row counts progress, and refers to nothing: a key would lock that row.
budgets = Table(
    "budgets",
    metadata,
    Column("run_id", sa.BigInteger, primary_key=True, autoincrement=False),
    Column("max_requests", sa.BigInteger),
    Column("max_tokens", sa.BigInteger),
    Column("max_money", sa.Numeric),
    Column("requests", sa.BigInteger, nullable=False, server_default=text("0")),
    Column("tokens", sa.BigInteger, nullable=False, server_default=text("0")),
    Column("money", sa.Numeric, nullable=False, server_default=text("0")),
    _time_now("created_at"),
    CheckConstraint(
        "num_nonnulls(max_requests, max_tokens, max_money) > 0", name="budgets_have_a_limit"
    ),
    CheckConstraint(
        "requests >= 0 AND tokens >= 0 AND money >= 0", name="budgets_only_grow_from_zero"
    ),
    schema=SCHEMA,
)

# One row for each process that keeps running, by which it shows that it works; a few updates a
# minute, all of them in their page: no index holds what changes.
heartbeats = Table(
    "heartbeats",
    metadata,
    Column("instance_id", sa.Uuid(), primary_key=True),
    Column("kind", sa.Text, nullable=False),
    Column("name", sa.Text, nullable=False),  # as Celery knows it: worker@host
    Column("host", sa.Text, nullable=False),
    Column("pid", sa.Integer, nullable=False),
    Column("version", sa.Text, nullable=False),
    _time_now("started_at"),
    _time_now("beat_at"),  # it wrote this row
    _time_now("unbroken_since"),  # its heartbeats have come without a gap since
    _time("worked_at"),  # what it does was last seen to work
    Column("evidence", sa.Text),  # by which
    Column("problem", sa.Text),  # what it says is wrong now
    _time("stopped_at"),  # it was told to stop, and did
    CheckConstraint("kind IN ('worker', 'beat', 'flower', 'serve')", name="heartbeats_kind_known"),
    schema=SCHEMA,
    postgresql_with={"fillfactor": 50},
)

# Workflows as they were before their bot's first draft, where FLOWSHIFT_BACKUP=table. No foreign key: it
# would have the platform's deletes and TRUNCATE of bots reach in here. `workflow` is json, which keeps
# its text as it is.
backups = Table(
    "backups",
    metadata,
    Column("bot_id", sa.Text, primary_key=True),
    Column("workflow", JSON, nullable=False),
    _time_now("backed_up_at"),
    schema=SCHEMA,
)

# What the migrations created, as opposed to adopted: only that may go when downgrading.
created_objects = Table(
    "created_objects",
    metadata,
    Column("kind", sa.Text, primary_key=True),
    Column("name", sa.Text, primary_key=True),
    _time_now("created_at"),
    CheckConstraint("kind IN ('table', 'column', 'index')", name="created_objects_kind_known"),
    schema=SCHEMA,
)

PLATFORM_TABLES = (bots, versions, execution_runs, node_executions)
RUN_TABLES = (
    runs,
    batches,
    ledger,
    audit,
    budgets,
    created_objects,
    prunes,
    leaving_partitions,
    heartbeats,
    backups,
)
