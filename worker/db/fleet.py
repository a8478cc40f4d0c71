"""Questions about the whole fleet: the two that the platform's guide asks, and one of ours."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import sqlalchemy as sa

from worker.core.parity.recording import SESSION_PREFIX
from worker.db.backups import BESIDE_BOTS, IS_BACKED_UP
from worker.db.expressions import seconds
from worker.db.platform_tables import DRAFT, bots, execution_runs, versions


class Overview(msgspec.Struct, frozen=True):
    """How far the fleet is: the guide's first monitoring query, and the drafts that wait.

    Bots without a workflow do not count. `v2_unpublished` are those of `v2_bots` without a published
    version, which cannot answer; `without_id` those of `total_bots` that no run can take.
    """

    total_bots: int
    v2_bots: int
    v2_unpublished: int
    migrated_bots: int
    drafts: int
    without_id: int


class ExecutionsOfStatus(msgspec.Struct, frozen=True):
    """Executions of the last 24 hours with one status: the guide's second monitoring query."""

    status: str
    count: int
    avg_time_ms: int | None
    avg_tokens: int | None


def overview(connection: sa.Connection) -> Overview:
    """Count the fleet."""
    counted = (
        sa.select(
            sa.func.count(),
            sa.func.count().filter(bots.c.use_workflow_v2),
            sa.func.count().filter(IS_BACKED_UP),
            sa.func.count().filter(bots.c.bot_id.is_(None)),
        )
        .select_from(BESIDE_BOTS)
        .where(bots.c.workflow.is_not(None))
    )
    total, v2, migrated, without_id = connection.execute(counted).one()
    drafts = connection.scalar(
        sa.select(sa.func.count()).select_from(versions).where(versions.c.status == DRAFT)
    )
    unpublished = flagged_without_version(connection)
    return Overview(total, v2, unpublished, migrated, drafts or 0, without_id)


def flagged_without_version(connection: sa.Connection) -> int:
    """How many bots with a workflow are flagged V2 and have no published version."""
    published = sa.exists().where(
        versions.c.bot_id == bots.c.bot_id, sa.cast(versions.c.status, sa.Text) == "published"
    )
    counted = connection.scalar(
        sa.select(sa.func.count())
        .select_from(bots)
        .where(bots.c.use_workflow_v2, bots.c.workflow.is_not(None), ~published)
    )
    return counted or 0


class Executions(msgspec.Struct, frozen=True):
    """Executions of the last 24 hours, of one kind.

    `success_rate` is the share, 0 to 1, that succeeded of those that are not running; None if
    there are none. Averages are over those that have the value, None if none has.
    """

    count: int
    success_rate: float | None
    avg_time_ms: int | None
    avg_tokens: int | None


class Executed(msgspec.Struct, frozen=True):
    """Executions of the last 24 hours: all, by who made them, and by status."""

    all: Executions
    traffic: Executions
    validation: Executions
    by_status: tuple[ExecutionsOfStatus, ...]


class _Sums(msgspec.Struct, frozen=True):
    """What one group of executions adds up to."""

    validates: bool
    status: str
    count: int
    times: int
    time_ms: int
    with_tokens: int
    tokens: int


def executed(connection: sa.Connection) -> Executed:
    """Add up the executions of the last 24 hours, in one pass over the index on their time.

    Flowshift's own, which validate drafts, differ from real traffic in their session ids.
    """
    since = sa.func.now() - seconds(86_400)
    session = execution_runs.c.session_id.collate("C")  # LIKE needs a deterministic collation
    validates = sa.func.coalesce(session.startswith(SESSION_PREFIX), sa.false())
    time_ms, tokens = execution_runs.c.elapsed_time, execution_runs.c.total_tokens
    query = (
        sa.select(
            validates,
            execution_runs.c.status,
            sa.func.count(),
            sa.func.count(time_ms),
            sa.func.coalesce(sa.func.sum(time_ms), 0),
            sa.func.count(tokens),
            sa.func.coalesce(sa.func.sum(tokens), 0),
        )
        .where(execution_runs.c.created_at > since)
        .group_by(validates, execution_runs.c.status)
    )
    groups = [_Sums(*row) for row in connection.execute(query)]
    return Executed(
        all=_summed(groups),
        traffic=_summed([group for group in groups if not group.validates]),
        validation=_summed([group for group in groups if group.validates]),
        by_status=tuple(
            _of_status(status, [group for group in groups if group.status == status])
            for status in sorted({group.status for group in groups})
        ),
    )


def _summed(groups: Sequence[_Sums]) -> Executions:
    finished = sum(group.count for group in groups if group.status != "running")
    succeeded = sum(group.count for group in groups if group.status == "succeeded")
    return Executions(
        count=sum(group.count for group in groups),
        success_rate=succeeded / finished if finished else None,
        avg_time_ms=_average(groups, "time_ms", "times"),
        avg_tokens=_average(groups, "tokens", "with_tokens"),
    )


def _of_status(status: str, groups: Sequence[_Sums]) -> ExecutionsOfStatus:
    whole = _summed(groups)
    return ExecutionsOfStatus(status, whole.count, whole.avg_time_ms, whole.avg_tokens)


def _average(groups: Sequence[_Sums], total: str, count: str) -> int | None:
    """A mean in whole numbers, halves rounded up as PostgreSQL does."""
    values, number = (sum(getattr(group, name) for group in groups) for name in (total, count))
    return (2 * values + number) // (2 * number) if number else None
