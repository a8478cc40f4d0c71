"""Platforms as they are met: their tables with one thing or another of their own about them."""

from __future__ import annotations

import json

import sqlalchemy as sa

from migrations import upgrade
from tests.fleet import Fleet, a_workflow

TABLES = """
CREATE TABLE users (id serial PRIMARY KEY, uuid varchar(36) UNIQUE NOT NULL);
INSERT INTO users (uuid) VALUES ('00000000-0000-0000-0000-000000000001');
CREATE TABLE bots (
    id serial {bots_key},
    bot_id {bot_id},
    user_id integer NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    name varchar(100) NOT NULL,
    workflow json,
    use_workflow_v2 boolean NOT NULL DEFAULT false,
    legacy_workflow json,
    created_at timestamptz DEFAULT now(),
    updated_at timestamptz DEFAULT now()
);
CREATE TABLE bot_workflow_versions (
    id uuid PRIMARY KEY,
    bot_id {version_bot_id} NOT NULL REFERENCES bots (bot_id) ON DELETE CASCADE,
    version {version} NOT NULL, status {version_status} NOT NULL, graph jsonb NOT NULL,
    environment_variables jsonb, conversation_variables jsonb, features jsonb,
    created_by varchar(36) REFERENCES users (uuid),
    created_at timestamptz DEFAULT now(), updated_at timestamptz DEFAULT now(), published_at timestamp
);
CREATE TABLE workflow_execution_runs (
    id uuid PRIMARY KEY,
    bot_id varchar(50) NOT NULL REFERENCES bots (bot_id) ON DELETE CASCADE,
    workflow_version_id uuid REFERENCES bot_workflow_versions (id),
    session_id {session_id}, user_id varchar(36) REFERENCES users (uuid),
    graph_snapshot jsonb NOT NULL, inputs jsonb, outputs jsonb, status {run_status} NOT NULL,
    error_message text, started_at timestamptz DEFAULT now(), finished_at timestamptz,
    elapsed_time integer, total_tokens integer DEFAULT 0, total_steps integer DEFAULT 0,
    created_at timestamptz DEFAULT now()
);
CREATE TABLE workflow_node_executions (
    id uuid PRIMARY KEY,
    workflow_run_id uuid NOT NULL REFERENCES workflow_execution_runs (id) ON DELETE CASCADE,
    node_id varchar(255) NOT NULL, node_type {node_type} NOT NULL, execution_order integer,
    inputs jsonb, outputs jsonb, process_data jsonb, status {node_status} NOT NULL,
    error_message text, started_at timestamptz DEFAULT now(), finished_at timestamptz,
    elapsed_time integer, tokens_used integer DEFAULT 0, is_truncated boolean DEFAULT false,
    truncated_fields jsonb, created_at timestamptz DEFAULT now()
);
"""

USUAL = {
    "bots_key": "PRIMARY KEY",
    "bot_id": "varchar(50) NOT NULL UNIQUE",
    "version_bot_id": "varchar(50)",
    "version": "varchar(50)",
    "version_status": "varchar(20)",
    "run_status": "varchar(20)",
    "node_status": "varchar(20)",
    "session_id": "varchar(255)",
    "node_type": "varchar(50)",
}


def make(
    engine: sa.Engine, *, before: str = "", adopt: bool = True, bots: int = 0, **columns: str
) -> None:
    """The platform's tables with some columns of other types, and `bots` bots that convert.

    `before` is run first; with `adopt` the database is upgraded.
    """
    script(engine, before, TABLES.format(**{**USUAL, **columns}))
    if bots:
        insert_bots(engine, bots)
    if adopt:
        upgrade.upgrade(engine)


def insert_bots(engine: sa.Engine, count: int, table: str = "bots") -> None:
    """Bots `bot_0001` and so on, each with a workflow that converts."""
    with engine.begin() as connection:
        connection.execute(
            sa.text(
                f"INSERT INTO {table} (bot_id, user_id, name, workflow)"
                " SELECT 'bot_' || lpad(n::text, 4, '0'), 1, '봇 ' || n, CAST(:workflow AS json)"
                " FROM generate_series(1, :count) AS n"
            ),
            {"workflow": json.dumps(a_workflow()), "count": count},
        )


def script(engine: sa.Engine, *statements: str) -> None:
    """Run SQL as it stands, in one transaction."""
    with engine.begin() as connection:
        for text in filter(None, statements):
            connection.exec_driver_sql(text)


def converts_whole(fleet: Fleet, bots: int) -> None:
    """Every bot converts and is executed, is found unchanged after that, and can be looked at."""
    dry = fleet.run(dry_run=True)
    assert (dry.counts.converted, dry.counts.failed) == (bots, 0), fleet.outcomes(dry.run_id)
    real = fleet.run(validate="all")
    assert (real.counts.converted, real.counts.failed) == (bots, 0), fleet.outcomes(real.run_id)
    assert len(fleet.drafts()) == len(fleet.backups()) == bots
    assert fleet.rows("SELECT count(*) FROM workflow_execution_runs")[0][0] >= bots
    assert fleet.run().counts.unchanged == bots
    assert fleet.run(kind="validate", of_run=real.run_id).counts.validated == bots
