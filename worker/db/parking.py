"""Parking in the database: one batch of a run waits for all, and the run says for what."""

from __future__ import annotations

import sqlalchemy as sa

from worker.core.policy.batch_ref import BatchRef
from worker.core.policy.health import Verdict
from worker.db.expressions import seconds
from worker.db.tables import runs

PARKED_S = 15
"""Seconds for which one batch waits for its run, renewed every second: then another may."""


def park(connection: sa.Connection, ref: BatchRef, verdict: Verdict) -> bool:
    """Let one batch wait for its whole run, for `PARKED_S`, and say for what.

    False if another batch does so already, or the run does not run: then this batch is not needed
    now. On repeat by the same batch the time is renewed. The one that waits keeps every other batch
    of the run out of the queue, so that a parked run takes one worker process.
    """
    free = sa.or_(
        runs.c.parked_until.is_(None),
        runs.c.parked_until < sa.func.clock_timestamp(),
        runs.c.parked_batch == ref.number,
    )
    return bool(
        connection.execute(
            sa.update(runs)
            .where(runs.c.run_id == ref.run_id, runs.c.state == "running", free)
            .values(
                parked_batch=ref.number,
                parked_until=sa.func.clock_timestamp() + seconds(PARKED_S),
                parked_check=verdict.check,
                parked_reason=verdict.reason[:500],
            )
        ).rowcount
    )


def unpark(connection: sa.Connection, ref: BatchRef) -> bool:
    """End the parking; says whether it was this batch that waited."""
    return bool(
        connection.execute(
            sa.update(runs)
            .where(runs.c.run_id == ref.run_id, runs.c.parked_batch == ref.number)
            .values(parked_batch=None, parked_until=None, parked_check=None, parked_reason=None)
        ).rowcount
    )
