"""The audit trail: who changed what, and why."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from worker.db.tables import audit


def record(
    connection: sa.Connection,
    run_id: int | None,
    actor: str,
    action: str,
    reason: str | None,
    detail: dict[str, Any] | None = None,
) -> None:
    """Add a line to the audit trail, in the transaction of what it tells of."""
    connection.execute(
        sa.insert(audit).values(
            run_id=run_id, actor=actor, action=action, reason=reason, detail=detail or {}
        )
    )
