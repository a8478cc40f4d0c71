"""Control of runs in the database: what is at work, what fails, which runs overlap, what was done."""

from __future__ import annotations

import datetime as dt
from typing import Any

import msgspec
import sqlalchemy as sa

from worker.core.policy import circuit_breaker
from worker.core.policy.run_kinds import WRITES_DRAFTS
from worker.core.policy.states import OVER
from worker.db.expressions import BOTS_COUNTED
from worker.db.runs import Run
from worker.db.tables import audit, batches, runs

_OVERLAP_LOCK = 0x666C6F77
"""The advisory lock under which runs are compared: of two that start at once, one sees the other."""


# -- batches at work ---------------------------------------------------------------------------


def any_at_work(connection: sa.Connection, run_id: int) -> bool:
    """Whether a live worker has a batch of this run."""
    at_work = sa.select(batches.c.number).where(
        batches.c.run_id == run_id,
        batches.c.state == "running",
        batches.c.lease_until > sa.func.now(),
    )
    return bool(connection.scalar(sa.select(sa.exists(at_work))))


# -- the circuit breaker ---------------------------------------------------------------------------------


def window(connection: sa.Connection, run: Run) -> circuit_breaker.Window:
    """The running window of a run: its last batches since it began to run, or was resumed."""
    counted = BOTS_COUNTED
    query = (
        sa.select(counted, batches.c.codes)
        .where(
            batches.c.run_id == run.run_id,
            batches.c.state == "done",
            batches.c.finished_at >= sa.func.coalesce(run.running_since, batches.c.finished_at),
        )
        .order_by(batches.c.finished_at.desc(), batches.c.number.desc())
        .limit(circuit_breaker.WINDOW_BOTS)
    )
    with connection.execute(query.execution_options(yield_per=50)) as rows:
        return circuit_breaker.window((row[0], row[1]) for row in rows)


# -- overlap -----------------------------------------------------------------------------------


def overlapping(connection: sa.Connection, run_id: int) -> tuple[int, str] | None:
    """An active run that takes bots which this one takes too: (its number, its state).

    A run over the whole fleet overlaps with every run that takes any bot. Validations, which write
    no draft, overlap with no run, and a dry run does not overlap with a paused one. Call it when the run's
    chosen bots are in batches; until the transaction ends no other run is compared.
    """
    connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_OVERLAP_LOCK)))
    row = connection.execute(
        _OVERLAPPING, {"run_id": run_id, "over": sorted(OVER), "writes": list(WRITES_DRAFTS)}
    ).first()
    return None if row is None else (row.run_id, row.state)


# Lists are joined by hash; ranges exist beside lists only in retries of whole failed batches.
_OVERLAPPING = sa.text(
    """
    SELECT theirs.run_id, theirs.state
    FROM flowshift.runs AS mine
    JOIN flowshift.runs AS theirs
      ON theirs.run_id <> mine.run_id AND theirs.state <> ALL (:over)
     AND mine.kind = ANY(:writes) AND theirs.kind = ANY(:writes)
     AND NOT (mine.dry_run AND theirs.state = 'paused')
    WHERE mine.run_id = :run_id AND (
        (mine.options ->> 'selection' = 'all' AND (
            theirs.options ->> 'selection' = 'all'
            OR EXISTS (SELECT FROM flowshift.batches b WHERE b.run_id = theirs.run_id)))
        OR (theirs.options ->> 'selection' = 'all'
            AND EXISTS (SELECT FROM flowshift.batches b WHERE b.run_id = mine.run_id))
        OR EXISTS (
            SELECT FROM (SELECT unnest(b.bot_ids) AS bot_id FROM flowshift.batches b
                         WHERE b.run_id = mine.run_id) AS m
            JOIN (SELECT unnest(b.bot_ids) AS bot_id FROM flowshift.batches b
                  WHERE b.run_id = theirs.run_id) AS t USING (bot_id))
        OR EXISTS (
            SELECT FROM flowshift.batches m JOIN flowshift.batches t
              ON t.run_id = theirs.run_id AND t.bot_ids IS NULL
             AND (m.bot_ids IS NULL AND (t.after_bot_id IS NULL OR m.through_bot_id > t.after_bot_id)
                  AND (m.after_bot_id IS NULL OR t.through_bot_id > m.after_bot_id)
                  OR EXISTS (SELECT FROM unnest(m.bot_ids) AS one (bot_id)
                             WHERE one.bot_id <= t.through_bot_id
                               AND (t.after_bot_id IS NULL OR one.bot_id > t.after_bot_id)))
            WHERE m.run_id = mine.run_id)
        OR EXISTS (
            SELECT FROM flowshift.batches m JOIN flowshift.batches t
              ON t.run_id = theirs.run_id AND t.bot_ids IS NOT NULL
             AND EXISTS (SELECT FROM unnest(t.bot_ids) AS one (bot_id)
                         WHERE one.bot_id <= m.through_bot_id
                           AND (m.after_bot_id IS NULL OR one.bot_id > m.after_bot_id))
            WHERE m.run_id = mine.run_id AND m.bot_ids IS NULL))
    ORDER BY theirs.run_id
    LIMIT 1
    """
)


# -- the audit trail ---------------------------------------------------------------------------


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """A line of the audit trail."""

    id: int
    at: dt.datetime
    run_id: int | None
    actor: str
    action: str
    reason: str | None
    detail: dict[str, Any]


def trail(
    connection: sa.Connection, run_id: int | None, limit: int, *, before: int | None = None
) -> list[Entry]:
    """The newest `limit` lines, of one run where it is given; the newest last.

    With `before` those that are older than the line of that id.
    """
    query = sa.select(audit).order_by(audit.c.id.desc()).limit(limit)
    if run_id is not None:
        query = query.where(audit.c.run_id == run_id)
    if before is not None:
        query = query.where(audit.c.id < before)
    return [Entry(**row._asdict()) for row in reversed(connection.execute(query).all())]


# -- tuning ------------------------------------------------------------------------------------


def tune(connection: sa.Connection, run_id: int, changes: dict[str, Any]) -> None:
    """Change a run's options; a value of None removes the limit."""
    connection.execute(
        sa.update(runs)
        .where(runs.c.run_id == run_id)
        .values(options=runs.c.options.op("||")(changes))
    )
