"""Executions into the platform's two tables, as the platform writes them (design section 1)."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from itertools import chain

import sqlalchemy as sa
from psycopg import sql

from worker.core.parity.recording import ExecutionRow
from worker.db.bulk import JsonText, driver
from worker.db.column_types import type_of
from worker.db.row_ids import Source, node_row_id

# The draft is joined as this transaction sees it: its graph is copied inside the database,
# compressed as it is. `xmin` names the version of the row that was executed, where that matters.
_INSERT_RUNS = """
    INSERT INTO workflow_execution_runs
        (id, bot_id, workflow_version_id, session_id, graph_snapshot, inputs, outputs, status,
         error_message, started_at, finished_at, elapsed_time, total_tokens, total_steps, created_at)
    SELECT n.id, d.bot_id, d.id, n.session_id, d.graph, n.inputs, n.outputs,
           n.status::{status}, n.error,
           statement_timestamp() - n.ago_us * interval '1 microsecond',
           statement_timestamp() - (n.ago_us - n.elapsed_us) * interval '1 microsecond',
           n.elapsed_us / 1000, n.tokens, n.steps, now()
    FROM unnest(%b::uuid[], %b::text[], %b::text[], %b::jsonb[], %b::jsonb[], %b::text[],
                %b::text[], %b::int8[], %b::int8[], %b::int8[], %b::int4[], %b::text[])
         AS n (id, bot_id, session_id, inputs, outputs, status, error, ago_us, elapsed_us, tokens,
               steps, xmin)
    JOIN bot_workflow_versions d ON d.bot_id = n.bot_id AND d.status = 'draft'
    WHERE n.xmin IS NULL OR n.xmin = d.xmin::text
    ON CONFLICT DO NOTHING
    RETURNING id
"""

_INSERT_NODES = """
    INSERT INTO workflow_node_executions
        (id, workflow_run_id, node_id, node_type, execution_order, inputs, outputs, process_data,
         status, error_message, started_at, finished_at, elapsed_time, tokens_used, is_truncated,
         truncated_fields, created_at)
    SELECT n.id, n.run_id, n.node_id, n.node_type::{node_type}, n.place, n.inputs,
           n.outputs, n.process_data, n.status::{status}, n.error,
           statement_timestamp() - n.ago_us * interval '1 microsecond',
           statement_timestamp() - (n.ago_us - n.elapsed_us) * interval '1 microsecond',
           n.elapsed_us / 1000, n.tokens, n.truncated IS NOT NULL, n.truncated, now()
    FROM unnest(%b::uuid[], %b::uuid[], %b::text[], %b::text[], %b::int4[], %b::jsonb[],
                %b::jsonb[], %b::jsonb[], %b::text[], %b::text[], %b::int8[], %b::int8[],
                %b::int8[], %b::jsonb[])
         AS n (id, run_id, node_id, node_type, place, inputs, outputs, process_data, status, error,
               ago_us, elapsed_us, tokens, truncated)
"""


def insert_executions(
    connection: sa.Connection,
    source: Source,
    rows: Sequence[ExecutionRow],
    *,
    now: float,
    versions: dict[str, str] | None = None,
) -> frozenset[str]:
    """Record executions of drafts, two statements for any number; returns the bots recorded.

    `now` is the present reading of the clock that the rows' `began` were read from: times are the
    database's, so that a worker's wrong clock does not show. `versions` holds each bot's `xmin` as
    `worker.db.drafts` read it: a bot whose draft has been changed since is left out. On repeat
    (the same source, bot and message) what is there stays. A bot is missing from the result where
    the server says that it wrote less than it was given: `unrecorded` finds out what is there.
    """
    if not rows:
        return frozenset()
    rows, ids = _in_order(source, rows)
    with driver(connection).cursor() as cursor:
        cursor.execute(
            sql.SQL(_INSERT_RUNS).format(
                status=type_of(connection, "workflow_execution_runs", "status")
            ),
            (
                ids,
                [row.bot_id for row in rows],
                [row.session_id for row in rows],
                [JsonText(row.inputs) for row in rows],
                [None if row.outputs is None else JsonText(row.outputs) for row in rows],
                [row.status for row in rows],
                [row.error for row in rows],
                [_ago_us(row, now) for row in rows],
                [row.elapsed_us for row in rows],
                [row.tokens for row in rows],
                [row.steps for row in rows],
                [versions and versions[row.bot_id] for row in rows],
            ),
        )
        written = {found for (found,) in cursor.fetchall()}
        pairs = [(key, row) for key, row in zip(ids, rows, strict=True) if key in written]
        is_whole = insert_nodes(connection, pairs, now)
    left = {row.bot_id for key, row in zip(ids, rows, strict=True) if key not in written}
    return frozenset(row.bot_id for _, row in pairs) - left if is_whole else frozenset()


def _in_order(
    source: Source, rows: Sequence[ExecutionRow]
) -> tuple[list[ExecutionRow], list[uuid.UUID]]:
    """Rows with their ids, which rise: the end of an index takes them without a search."""
    named = [(source.row_id(row.bot_id, row.number), row) for row in rows]
    named.sort(key=lambda one: one[0].int)
    return [row for _, row in named], [row_id for row_id, _ in named]


_VERSION_OF_DRAFT = """
    SELECT v.xmin::text FROM bot_workflow_versions v
    WHERE v.bot_id = %s AND v.status = 'draft' AND v.graph = %s::jsonb
"""


def version_of_draft(connection: sa.Connection, bot_id: str, graph: str) -> str | None:
    """The `xmin` of a bot's draft, as `insert_executions` takes it; None if it holds another graph."""
    with driver(connection).cursor() as cursor:
        row = cursor.execute(_VERSION_OF_DRAFT, [bot_id, graph]).fetchone()
    return None if row is None else str(row[0])


_UNRECORDED = """
    SELECT DISTINCT n.bot_id::varchar
    FROM unnest(%b::uuid[], %b::text[], %b::int4[]) AS n (id, bot_id, nodes)
    LEFT JOIN workflow_execution_runs r ON r.id = n.id AND r.bot_id = n.bot_id
    WHERE r.id IS NULL OR n.nodes <> (
        SELECT count(*) FROM workflow_node_executions e WHERE e.workflow_run_id = n.id
    )
"""


def unrecorded(
    connection: sa.Connection, source: Source, rows: Sequence[ExecutionRow]
) -> frozenset[str]:
    """Which bots lack one of these executions, or one of its nodes: by what is there."""
    if not rows:
        return frozenset()
    ids = [source.row_id(row.bot_id, row.number) for row in rows]
    bots, nodes = [row.bot_id for row in rows], [len(row.nodes) for row in rows]
    with driver(connection).cursor() as cursor:
        cursor.execute(_UNRECORDED, (ids, bots, nodes))
        return frozenset(bot_id for (bot_id,) in cursor.fetchall())


def insert_nodes(
    connection: sa.Connection, executions: Sequence[tuple[uuid.UUID, ExecutionRow]], now: float
) -> bool:
    """Record the nodes of executions that are there; whether the server says that it wrote all."""
    rows = list(
        chain.from_iterable(
            (
                (key, place, _ago_us(execution, now) - node.since_us, node)
                for place, node in enumerate(execution.nodes, 1)
            )
            for key, execution in executions
        )
    )
    if not rows:
        return True
    nodes = [node for *_, node in rows]
    with driver(connection).cursor() as cursor:
        cursor.execute(
            sql.SQL(_INSERT_NODES).format(
                status=type_of(connection, "workflow_node_executions", "status"),
                node_type=type_of(connection, "workflow_node_executions", "node_type"),
            ),
            (
                [node_row_id(key, place) for key, place, _, _ in rows],
                [key for key, _, _, _ in rows],
                [node.node_id for node in nodes],
                [node.node_type for node in nodes],
                [node.order for node in nodes],
                [JsonText(node.inputs) for node in nodes],
                [JsonText(node.outputs) for node in nodes],
                [JsonText(node.process_data) for node in nodes],
                [node.status for node in nodes],
                [node.error for node in nodes],
                [ago_us for _, _, ago_us, _ in rows],
                [node.elapsed_us for node in nodes],
                [node.tokens for node in nodes],
                [node.truncated and JsonText(node.truncated) for node in nodes],
            ),
        )
        return cursor.rowcount == len(rows)


def _ago_us(row: ExecutionRow, now: float) -> int:
    return int((now - row.began) * 1_000_000)
