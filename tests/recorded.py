"""Executions in the platform's two tables, as the platform and as runs of ours write them."""

from __future__ import annotations

import json
import uuid
from typing import Any

from tests.fleet import Fleet, Json


def a_node_row(node_id: str, node_type: str = "llm", **columns: Any) -> Json:
    """A row of `workflow_node_executions`; what is not given is as in most rows."""
    return {
        "node_id": node_id,
        "node_type": node_type,
        "inputs": {"query": "hello"},
        "outputs": {"response": "hi"},
        "process_data": None,
        "status": "succeeded",
        "error_message": None,
        "elapsed_time": 1,
        "tokens_used": 0,
        "is_truncated": False,
        "truncated_fields": None,
        **columns,
    }


def record(
    fleet: Fleet,
    bot_id: str,
    *nodes: Json,
    execution_id: str | None = None,
    ago: str = "1 second",
    **columns: Any,
) -> str:
    """Write an execution that was made `ago`, and its nodes in this order; returns its id."""
    execution_id = execution_id or str(uuid.uuid4())
    row = {
        "id": execution_id,
        "bot_id": bot_id,
        "session_id": "session-1",
        "graph_snapshot": {},
        "inputs": {"query": "hello"},
        "outputs": {"response": "hi"},
        "status": "succeeded",
        "error_message": None,
        "elapsed_time": 12,
        "total_tokens": 34,
        "total_steps": len(nodes),
        **columns,
    }
    _insert(fleet, "workflow_execution_runs", row)
    fleet.execute(
        "UPDATE workflow_execution_runs SET created_at = now() - CAST(:ago AS interval),"
        " started_at = now() - CAST(:ago AS interval) WHERE id = :id",
        ago=ago,
        id=execution_id,
    )
    for order, node in enumerate(nodes, 1):
        values = {"workflow_run_id": execution_id, "execution_order": order, **node}
        _insert(fleet, "workflow_node_executions", values)
    return execution_id


def _insert(fleet: Fleet, table: str, row: Json) -> None:
    """Insert a row; a `str` in a JSON column is the JSON text itself."""
    json_columns = ("graph_snapshot", "inputs", "outputs", "process_data", "truncated_fields")
    values = {
        name: json.dumps(value) if name in json_columns and isinstance(value, dict) else value
        for name, value in row.items()
    }
    placeholders = ", ".join(
        f"CAST(:{name} AS jsonb)" if name in json_columns else f":{name}" for name in row
    )
    fleet.execute(f"INSERT INTO {table} ({', '.join(row)}) VALUES ({placeholders})", **values)
