"""Executions into the platform's two tables, as the platform writes them (design section 1)."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Sequence

import sqlalchemy as sa
from psycopg import sql

from worker.core.parity.recording import ExecutionRow
from worker.db.bulk import BinaryLoader, driver, integers, jsons, rows, texts, uuids
from worker.db.column_types import type_of
from worker.db.row_ids import Source, node_row_ids

# The draft is joined as this transaction sees it: its graph is copied inside the database,
# compressed as it is. `xmin` names the version of the row that was executed, where that matters. Each
# is looked up by its index, in the order of the rows: OFFSET keeps the planner from reading every draft.
_INSERT_RUNS = """
    INSERT INTO workflow_execution_runs
        (id, bot_id, workflow_version_id, session_id, graph_snapshot, inputs, outputs, status,
         error_message, started_at, finished_at, elapsed_time, total_tokens, total_steps, created_at)
    SELECT n.id, d.bot_id, d.id, n.session_id, d.graph, n.inputs, n.outputs,
           n.status::{status}, n.error,
           statement_timestamp() - n.ago_us * interval '1 microsecond',
           statement_timestamp() - (n.ago_us - n.elapsed_us) * interval '1 microsecond',
           n.elapsed_us / 1000, n.tokens, n.steps, now()
    FROM {rows}
    CROSS JOIN LATERAL (
        SELECT d.id, d.bot_id, d.graph, d.xmin FROM bot_workflow_versions d
        WHERE d.bot_id = n.bot_id AND d.status = 'draft' OFFSET 0
    ) d
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
           n.outputs, jsonb_build_object('elapsed_us', n.elapsed_us), n.status::{status}, n.error,
           statement_timestamp() - n.ago_us * interval '1 microsecond',
           statement_timestamp() - (n.ago_us - n.elapsed_us) * interval '1 microsecond',
           n.elapsed_us / 1000, n.tokens, n.truncated IS NOT NULL, n.truncated, now()
    FROM {rows}
"""


def insert_executions(
    connection: sa.Connection,
    source: Source,
    executions: Sequence[ExecutionRow],
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
    if not executions:
        return frozenset()
    # In the order given, which a dry run and the run share: where an index of the platform's refuses all
    # but one, both name the same bot. Ids differ between the two.
    pairs = [(source.row_id(row.bot_id, row.number), row) for row in executions]
    written = _insert_runs(connection, pairs, now, versions)
    there = _by_id(pair for pair in pairs if pair[0].bytes in written)
    is_whole = insert_nodes(connection, there, now)
    left = {row.bot_id for key, row in pairs if key.bytes not in written}
    return frozenset(row.bot_id for _, row in there) - left if is_whole else frozenset()


def _by_id(
    pairs: Iterable[tuple[uuid.UUID, ExecutionRow]],
) -> list[tuple[uuid.UUID, ExecutionRow]]:
    """Rows by ids, which rise: the end of an index takes their nodes without a search."""
    return sorted(pairs, key=lambda pair: pair[0].int)


def _insert_runs(
    connection: sa.Connection,
    pairs: Sequence[tuple[uuid.UUID, ExecutionRow]],
    now: float,
    versions: dict[str, str] | None,
) -> frozenset[bytes]:
    """Record executions without their nodes; returns the ids of those written."""
    executions = [row for _, row in pairs]
    given = rows(
        "n",
        id=uuids([key.bytes for key, _ in pairs]),
        bot_id=texts([row.bot_id for row in executions]),
        session_id=texts([row.session_id for row in executions]),
        inputs=jsons([row.inputs for row in executions]),
        outputs=jsons([row.outputs for row in executions]),
        status=texts([row.status for row in executions]),
        error=texts([row.error for row in executions]),
        ago_us=integers([_ago_us(row, now) for row in executions]),
        elapsed_us=integers([row.elapsed_us for row in executions]),
        tokens=integers([row.tokens for row in executions]),
        steps=integers([row.steps for row in executions]),
        xmin=texts([None if versions is None else versions[row.bot_id] for row in executions]),
    )
    status = type_of(connection, "workflow_execution_runs", "status")
    with driver(connection).cursor() as cursor:
        cursor.adapters.register_loader("uuid", BinaryLoader)
        statement = sql.SQL(_INSERT_RUNS).format(status=status, rows=given.source)
        cursor.execute(statement, given.parameters, binary=True)
        return frozenset(found for (found,) in cursor.fetchall())


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
    connection: sa.Connection, source: Source, executions: Sequence[ExecutionRow]
) -> frozenset[str]:
    """Which bots lack one of these executions, or one of its nodes: by what is there."""
    if not executions:
        return frozenset()
    ids = [source.row_id(row.bot_id, row.number) for row in executions]
    bots, nodes = [row.bot_id for row in executions], [len(row.nodes) for row in executions]
    with driver(connection).cursor() as cursor:
        cursor.execute(_UNRECORDED, (ids, bots, nodes))
        return frozenset(bot_id for (bot_id,) in cursor.fetchall())


def insert_nodes(
    connection: sa.Connection, executions: Sequence[tuple[uuid.UUID, ExecutionRow]], now: float
) -> bool:
    """Record the nodes of executions that are there; whether the server says that it wrote all."""
    nodes = [node for _, execution in executions for node in execution.nodes]
    if not nodes:
        return True
    of_each = [(key, len(execution.nodes)) for key, execution in executions]
    began = [(_ago_us(execution, now), execution.nodes) for _, execution in executions]
    given = rows(
        "n",
        id=uuids([one for key, count in of_each for one in node_row_ids(key, count)]),
        run_id=uuids([one for key, count in of_each for one in [key.bytes] * count]),
        node_id=texts([node.node_id for node in nodes]),
        node_type=texts([node.node_type for node in nodes]),
        place=integers([node.order for node in nodes]),
        inputs=jsons([node.inputs for node in nodes]),
        outputs=jsons([node.outputs for node in nodes]),
        status=texts([node.status for node in nodes]),
        error=texts([node.error for node in nodes]),
        ago_us=integers([ago_us - node.since_us for ago_us, some in began for node in some]),
        elapsed_us=integers([node.elapsed_us for node in nodes]),
        tokens=integers([node.tokens for node in nodes]),
        truncated=jsons([node.truncated for node in nodes]),
    )
    statement = sql.SQL(_INSERT_NODES).format(
        status=type_of(connection, "workflow_node_executions", "status"),
        node_type=type_of(connection, "workflow_node_executions", "node_type"),
        rows=given.source,
    )
    with driver(connection).cursor() as cursor:
        cursor.execute(statement, given.parameters)
        return cursor.rowcount == len(nodes)


def _ago_us(row: ExecutionRow, now: float) -> int:
    return int((now - row.began) * 1_000_000)
