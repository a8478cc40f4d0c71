"""Our tables, in the schema `flowshift`; the platform's are in `worker.db.platform_tables`.

Queries are built from these. `migrations/` creates the same tables in frozen form, and a test
compares the two, constraint by constraint.
"""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy import CheckConstraint, Column, ForeignKey, Index, Table, text
from sqlalchemy.dialects.postgresql import JSON

from worker.core.policy.states import RUN_KINDS
from worker.db.columns import EMPTY, count, json_b, metadata, time, time_now

SCHEMA = "flowshift"

runs = Table(
    "runs",
    metadata,
    Column("run_id", sa.BigInteger, sa.Identity(), primary_key=True),
    Column("request_id", sa.Text, nullable=False, unique=True),
    Column("kind", sa.Text, nullable=False, server_default=text("'convert'")),
    Column("parent_run_id", sa.BigInteger, ForeignKey(f"{SCHEMA}.runs.run_id")),
    Column("state", sa.Text, nullable=False),
    Column("state_reason", sa.Text),
    Column("options", json_b(), nullable=False),
    Column("dry_run", sa.Boolean, nullable=False),
    Column("requested_by", sa.Text, nullable=False),
    Column("converter_version", sa.Text, nullable=False),
    Column("planned_through", sa.Text),  # the last bot_id that is in a batch
    Column("batch_count", sa.Integer, nullable=False, server_default=text("0")),
    Column("bot_count", sa.BigInteger, nullable=False, server_default=text("0")),
    Column("version", sa.BigInteger, nullable=False, server_default=text("0")),
    time_now("created_at"),
    time("started_at"),
    time("finished_at"),
    time("running_since"),  # not paused since
    time("paced_until"),  # no batch begins before, where max_rate is set
    # While the run waits: the batch whose message waits for all, until when that holds, and why.
    Column("parked_batch", sa.Integer),
    time("parked_until"),
    Column("parked_check", sa.Text),
    Column("parked_reason", sa.Text),
    time_now("moved_at"),  # its planning was enqueued, or added batches
    time("ledger_pruned_at"),  # the ledger's rows of this run are gone, but for those still needed
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
    CheckConstraint(f"kind IN {RUN_KINDS}", name="runs_kind_known"),
    Index("runs_by_parent", "parent_run_id"),
    Index("runs_open", "run_id", postgresql_where=text("finished_at IS NULL")),
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
    count("attempt"),
    time("lease_until"),
    time("enqueued_at"),
    time("started_at"),
    time("finished_at"),
    Column("worker", sa.Text),
    count("converted"),
    count("unchanged"),
    count("published"),
    count("rolled_back"),
    count("skipped"),
    count("failed"),
    count("validated"),
    count("warnings"),
    Column("codes", json_b(), nullable=False, server_default=EMPTY),  # by "outcome:code"
    Column("overhead", json_b(), nullable=False, server_default=EMPTY),  # V2's time over V1's
    Column("duration_ms", sa.Integer),
    Column("error", sa.Text),  # why it failed, or what happened to it last
    count("losses"),  # workers that it lost
    count(
        "faults"
    ),  # times that it was postponed after its claim, by an unavailable or busy server
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
    # In the queue or at work: few, whatever the run's size.
    Index(
        "batches_in_flight",
        "run_id",
        "number",
        postgresql_where=text(
            "state = 'running' OR (state = 'pending' AND enqueued_at IS NOT NULL)"
        ),
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
    Column("warnings", json_b()),
    Column("traceback", sa.Text),
    Column("draft_hash", sa.BigInteger),
    Column("overhead_us", sa.BigInteger),  # null where the draft was not executed
    time_now("recorded_at"),
    Column("source_hash", sa.BigInteger),  # of all that its draft follows from; null if not known
    CheckConstraint(
        "outcome IN ('converted', 'unchanged', 'published', 'rolled_back', 'skipped', 'failed')",
        name="ledger_outcome_known",
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
    time_now("at"),
    Column("run_id", sa.BigInteger),
    Column("actor", sa.Text, nullable=False),
    Column("action", sa.Text, nullable=False),
    Column("reason", sa.Text),
    Column("detail", json_b(), nullable=False, server_default=EMPTY),
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
    Column("cutoffs", json_b(), nullable=False),  # by kind
    Column("gone", json_b(), nullable=False, server_default=EMPTY),  # how many, by kind
    time_now("started_at"),
    time_now("moved_at"),
    time("finished_at"),
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
    time_now("at"),
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
    time_now("created_at"),
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
    time_now("started_at"),
    time_now("beat_at"),  # it wrote this row
    time_now("unbroken_since"),  # its heartbeats have come without a gap since
    time("worked_at"),  # what it does was last seen to work
    Column("evidence", sa.Text),  # by which
    Column("problem", sa.Text),  # what it says is wrong now
    time("stopped_at"),  # it stopped on request
    # those that it takes messages from: convert, publish
    Column("queues", sa.ARRAY(sa.Text), nullable=False, server_default=sa.text("'{convert}'")),
    # of it and its children: cores in use since the heartbeat before, and memory
    Column("cpu_cores", sa.Float),
    Column("memory_bytes", sa.BigInteger),
    CheckConstraint("kind IN ('worker', 'beat', 'flower', 'serve')", name="heartbeats_kind_known"),
    schema=SCHEMA,
    postgresql_with={"fillfactor": 50},
)

# Totals that only grow, each in a few rows (`worker.db.measuring.totals`): of a histogram `value` is the
# sum, and `counts` has a number for each bucket. Every batch updates some of them, in their page.
metric_totals = Table(
    "metric_totals",
    metadata,
    Column("slot", sa.SmallInteger, primary_key=True, autoincrement=False),
    Column("name", sa.Text, primary_key=True),
    Column("labels", sa.ARRAY(sa.Text), primary_key=True),  # their values, in the catalogue's order
    Column("value", sa.Float, nullable=False),
    Column("counts", sa.ARRAY(sa.BigInteger), nullable=False, server_default=text("'{}'")),
    schema=SCHEMA,
    postgresql_with={"fillfactor": 50},
)

# Requests to `flowshift serve` in the last minutes: a row a process and 10 s, deleted after 5 minutes.
http_windows = Table(
    "http_windows",
    metadata,
    Column("instance_id", sa.Uuid, primary_key=True),
    Column("ended_at", sa.DateTime(timezone=True), primary_key=True),
    Column("durations", sa.ARRAY(sa.BigInteger), nullable=False),  # by bucket of the histogram
    Column("statuses", sa.ARRAY(sa.BigInteger), nullable=False),  # 1xx to 5xx
    schema=SCHEMA,
)

# Workflows as they were before their bot's first draft, where FLOWSHIFT_BACKUP=table. No foreign key: it
# would have the platform's deletes and TRUNCATE of bots reach in here. `workflow` is json, which keeps
# its text as it is.
backups = Table(
    "backups",
    metadata,
    Column("bot_id", sa.Text, primary_key=True),
    Column("workflow", JSON, nullable=False),
    time_now("backed_up_at"),
    schema=SCHEMA,
)

# What the migrations created, as opposed to adopted: only that may go when downgrading.
created_objects = Table(
    "created_objects",
    metadata,
    Column("kind", sa.Text, primary_key=True),
    Column("name", sa.Text, primary_key=True),
    time_now("created_at"),
    CheckConstraint("kind IN ('table', 'column', 'index')", name="created_objects_kind_known"),
    schema=SCHEMA,
)

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
    metric_totals,
    http_windows,
    backups,
)
