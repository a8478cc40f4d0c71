"""What the platform does with a message, in the database: find what answers for a bot, record it.

For the sample's traffic alone: on a platform the platform does this itself.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import Final

import msgspec
import sqlalchemy as sa
from psycopg import sql

from worker.core.parity.recording import ExecutionRow
from worker.db.bulk import BytesLoader, JsonText, driver
from worker.db.column_types import type_of
from worker.db.recordings import insert_nodes


class Served(msgspec.Struct, frozen=True):
    """What answers for a bot: V1's `workflow`, or the `graph` of its live version.

    Both are JSON in UTF-8. `graph` is None where the bot is on V1, or has no published version.
    """

    bot_id: str
    uses_v2: bool
    workflow: bytes | None
    version_id: uuid.UUID | None
    graph: bytes | None


_SERVED: Final = """
    SELECT b.bot_id::varchar, b.use_workflow_v2,
           CASE WHEN NOT b.use_workflow_v2 THEN b.workflow::text END, v.id, v.graph::text
    FROM bots b
    LEFT JOIN LATERAL (
        SELECT o.id, o.graph FROM bot_workflow_versions o
        WHERE o.bot_id = b.bot_id AND o.status::text = 'published'
        ORDER BY o.published_at DESC LIMIT 1) v ON b.use_workflow_v2
    WHERE b.bot_id = ANY(%s) ORDER BY b.bot_id
"""

_INSERT: Final = """
    INSERT INTO workflow_execution_runs
        (id, bot_id, workflow_version_id, session_id, graph_snapshot, inputs, outputs, status,
         error_message, started_at, finished_at, elapsed_time, total_tokens, total_steps, created_at)
    SELECT n.id, v.bot_id, v.id, n.session_id, v.graph, n.inputs, n.outputs,
           n.status::{status}, n.error,
           now() - n.elapsed_us * interval '1 microsecond', now(), n.elapsed_us / 1000, n.tokens,
           n.steps, now()
    FROM unnest(%b::uuid[], %b::uuid[], %b::text[], %b::jsonb[], %b::jsonb[], %b::text[],
                %b::text[], %b::int8[], %b::int8[], %b::int4[])
         AS n (id, version_id, session_id, inputs, outputs, status, error, elapsed_us, tokens, steps)
    JOIN bot_workflow_versions v ON v.id = n.version_id
    RETURNING id
"""


def served(connection: sa.Connection, bot_ids: Sequence[str]) -> list[Served]:
    """What answers for each of these bots now, by the flag and in the platform's order of versions."""
    with driver(connection).cursor() as cursor:
        cursor.adapters.register_loader("text", BytesLoader)
        cursor.execute(_SERVED, [list(bot_ids)])
        return [Served(*row) for row in cursor]


def record(
    connection: sa.Connection, rows: Sequence[tuple[uuid.UUID, ExecutionRow]], *, now: float
) -> int:
    """Record executions of versions, each with its version's id; returns how many.

    `now` is the present reading of the clock that the rows' `began` were read from. A version that
    is gone is left out. Not safe to repeat: each call records executions of its own.
    """
    executed = {uuid.uuid4(): (version_id, row) for version_id, row in rows}
    with driver(connection).cursor() as cursor:
        cursor.execute(
            sql.SQL(_INSERT).format(
                status=type_of(connection, "workflow_execution_runs", "status")
            ),
            (
                list(executed),
                [version_id for version_id, _ in rows],
                [row.session_id for _, row in rows],
                [JsonText(row.inputs) for _, row in rows],
                [None if row.outputs is None else JsonText(row.outputs) for _, row in rows],
                [row.status for _, row in rows],
                [row.error for _, row in rows],
                [row.elapsed_us for _, row in rows],
                [row.tokens for _, row in rows],
                [row.steps for _, row in rows],
            ),
        )
        written = [found for (found,) in cursor.fetchall()]
    insert_nodes(connection, [(key, executed[key][1]) for key in written], now)
    return len(written)
