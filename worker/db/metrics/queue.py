"""Active runs, and their batches that are not done."""

from __future__ import annotations

from typing import Final

import msgspec
import sqlalchemy as sa

from worker.core.metrics.catalogue import OPEN_BATCHES
from worker.core.policy.progress import RECENT_S
from worker.core.policy.run_kinds import PUBLISHES
from worker.core.policy.states import RunKind, RunState
from worker.db.run_progress import unattended
from worker.db.tables import runs


class Active(msgspec.Struct, frozen=True, kw_only=True):
    """A run that is not over, with its open batches: at most `OPEN_BATCHES` of them are counted.

    `parked` is the check that lets no batch begin. `oldest_s` is how long the oldest batch in the queue
    has waited, None if none is there, or the run does not run. `recent_bots` were done in the last
    `RECENT_S` seconds of `elapsed_s`.
    """

    run_id: int
    kind: RunKind
    state: RunState
    parked: str | None
    planned: int
    enqueued: int
    running: int
    overdue: int
    oldest_s: float | None
    recent_bots: int
    elapsed_s: float


# By the indexes of a run's open and of its ended batches, run by run.
_ACTIVE: Final = sa.text("""
    SELECT r.run_id, r.kind, r.state,
           CASE WHEN r.state = 'running' AND r.parked_until > now() THEN r.parked_check END AS parked,
           o.planned, o.enqueued, o.running, o.overdue,
           CASE WHEN r.state = 'running' THEN o.oldest_s END AS oldest_s, e.recent_bots,
           COALESCE(extract(epoch FROM now() - r.started_at), 0)::float8 AS elapsed_s
    FROM flowshift.runs r
    CROSS JOIN LATERAL (
        SELECT count(*) FILTER (WHERE b.state = 'pending' AND b.enqueued_at IS NULL) AS planned,
               count(*) FILTER (WHERE b.state = 'pending' AND b.enqueued_at IS NOT NULL) AS enqueued,
               count(*) FILTER (WHERE b.state = 'running') AS running,
               count(*) FILTER (WHERE b.state = 'running' AND b.lease_until < now()) AS overdue,
               extract(epoch FROM now() - min(b.enqueued_at)
                                              FILTER (WHERE b.state = 'pending'))::float8 AS oldest_s
        FROM (
            SELECT state, enqueued_at, lease_until FROM flowshift.batches
            WHERE run_id = r.run_id AND state IN ('pending', 'running')
            ORDER BY number LIMIT :open_batches) b
    ) o
    CROSS JOIN LATERAL (
        SELECT COALESCE(sum(b.converted + b.unchanged + b.published + b.rolled_back + b.skipped
                            + b.failed), 0)::bigint AS recent_bots
        FROM flowshift.batches b
        WHERE b.run_id = r.run_id AND b.finished_at > now() - make_interval(secs => :recent_s)
    ) e
    WHERE r.finished_at IS NULL
""")


def active(connection: sa.Connection) -> list[Active]:
    """The runs that are not over."""
    rows = connection.execute(_ACTIVE, {"open_batches": OPEN_BATCHES, "recent_s": RECENT_S})
    return [Active(**row._asdict()) for row in rows]


def without_worker(connection: sa.Connection) -> dict[bool, int]:
    """How many active runs no worker works on: those that publish (true), and the others."""
    publishes = runs.c.kind.in_(PUBLISHES)
    query = (
        sa.select(publishes, sa.func.count())
        .where(
            runs.c.finished_at.is_(None),
            runs.c.state.in_(["planning", "running"]),
            unattended(),
        )
        .group_by(publishes)
    )
    return {bool(which): count for which, count in connection.execute(query)}
