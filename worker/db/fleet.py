"""Questions about the whole fleet: the two that the platform's guide asks, and one of ours."""

from __future__ import annotations

import msgspec
import sqlalchemy as sa

from worker.db.tables import bots, execution_runs, versions


class Overview(msgspec.Struct, frozen=True):
    """How far the fleet is: the guide's first monitoring query, and the drafts that wait.

    Bots without a workflow do not count.
    """

    total_bots: int
    v2_bots: int
    migrated_bots: int
    drafts: int


class ExecutionsOfStatus(msgspec.Struct, frozen=True):
    """Executions of the last 24 hours with one status: the guide's second monitoring query."""

    status: str
    count: int
    avg_time_ms: int | None
    avg_tokens: int | None


def overview(connection: sa.Connection) -> Overview:
    """Count the fleet."""
    counted = sa.select(
        sa.func.count(),
        sa.func.count().filter(bots.c.use_workflow_v2),
        sa.func.count().filter(bots.c.legacy_workflow.is_not(None)),
    ).where(bots.c.workflow.is_not(None))
    total, v2, migrated = connection.execute(counted).one()
    drafts = connection.scalar(
        sa.select(sa.func.count()).select_from(versions).where(versions.c.status == "draft")
    )
    return Overview(total, v2, migrated, drafts or 0)


def executions_by_status(connection: sa.Connection) -> list[ExecutionsOfStatus]:
    """Executions of the last 24 hours by status."""
    since = sa.func.now() - sa.cast("24 hours", sa.Interval)
    query = (
        sa.select(
            execution_runs.c.status,
            sa.func.count(),
            sa.cast(sa.func.round(sa.func.avg(execution_runs.c.elapsed_time)), sa.BigInteger),
            sa.cast(sa.func.round(sa.func.avg(execution_runs.c.total_tokens)), sa.BigInteger),
        )
        .where(execution_runs.c.created_at > since)
        .group_by(execution_runs.c.status)
        .order_by(execution_runs.c.status)
    )
    return [ExecutionsOfStatus(*row) for row in connection.execute(query)]
