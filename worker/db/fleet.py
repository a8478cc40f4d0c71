"""Questions about the whole fleet: executions, which the platform's guide asks for, and one of ours.

How many bots there are of each kind is asked in `worker.db.overview`.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import Final

import msgspec
import sqlalchemy as sa

from worker.core.parity.recording import SESSION_PREFIX
from worker.db.expressions import seconds
from worker.db.platform_tables import bots, execution_runs, versions


class ExecutionsOfStatus(msgspec.Struct, frozen=True):
    """Executions of the last 24 hours with one status: the guide's second monitoring query."""

    status: str
    count: int
    avg_time_ms: int | None
    avg_tokens: int | None


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


MOST_EXECUTIONS: Final = 100_000
"""So many executions, the newest, are added up at most."""


class Executed(msgspec.Struct, frozen=True):
    """Executions of the last 24 hours: all, by who made them, and by status.

    If there are more than `MOST_EXECUTIONS`, only the newest count: those from `since` on; else it is None.
    """

    all: Executions
    traffic: Executions
    validation: Executions
    by_status: tuple[ExecutionsOfStatus, ...]
    since: dt.datetime | None = None


class _Sums(msgspec.Struct, frozen=True):
    """What one group of executions adds up to."""

    validates: bool
    status: str
    count: int
    times: int
    time_ms: int
    with_tokens: int
    tokens: int


def executed(connection: sa.Connection, *, most: int = MOST_EXECUTIONS) -> Executed:
    """Add up the newest executions of the last 24 hours, in one pass over the index on their time.

    Flowshift's own, which validate drafts, differ from real traffic in their session ids.
    """
    r = execution_runs.c
    newest = (
        sa.select(r.session_id, r.status, r.elapsed_time, r.total_tokens, r.created_at)
        .where(r.created_at > sa.func.now() - seconds(86_400))
        .order_by(r.created_at.desc())
        .limit(most)
        .subquery()
    ).c
    session = newest.session_id.collate("C")  # LIKE needs a deterministic collation
    validates = sa.func.coalesce(session.startswith(SESSION_PREFIX), sa.false())
    time_ms, tokens = newest.elapsed_time, newest.total_tokens
    query = sa.select(
        validates,
        newest.status,
        sa.func.count(),
        sa.func.count(time_ms),
        sa.func.coalesce(sa.func.sum(time_ms), 0),
        sa.func.count(tokens),
        sa.func.coalesce(sa.func.sum(tokens), 0),
        sa.func.min(sa.cast(newest.created_at, sa.DateTime(timezone=True))),
    ).group_by(validates, newest.status)
    rows = connection.execute(query).all()
    groups = [_Sums(*row[:-1]) for row in rows]
    whole = _summed(groups)
    return Executed(
        all=whole,
        traffic=_summed([group for group in groups if not group.validates]),
        validation=_summed([group for group in groups if group.validates]),
        by_status=tuple(
            _of_status(status, [group for group in groups if group.status == status])
            for status in sorted({group.status for group in groups})
        ),
        since=min(row[-1] for row in rows) if whole.count >= most else None,
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
