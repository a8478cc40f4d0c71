"""Changes of a run's state: each a conditional UPDATE along the table of legal transitions."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from worker.core.policy.states import OVER, RUN_TRANSITIONS, RunState, states_before
from worker.db.audit import record
from worker.db.measuring import totals
from worker.db.tables import batches, runs


def apply(
    connection: sa.Connection,
    run_id: int,
    state: RunState,
    *,
    reason: str | None,
    actor: str,
    why: str | None = None,
) -> bool:
    """Take a run to `state`, if it is in a state that this may leave; says whether it did.

    A conditional UPDATE: of two that try, one succeeds, and a repeat finds nothing to change. Every
    change is in the audit trail, with `why` where that is not the reason shown with the state.
    """
    values: dict[str, Any] = {
        "state": state,
        "state_reason": reason,
        "version": runs.c.version + 1,
    }
    if state == "running":
        values["started_at"] = sa.func.coalesce(runs.c.started_at, sa.func.now())
        values["running_since"] = sa.func.clock_timestamp()
    else:  # what does not run waits for nothing
        values |= dict.fromkeys(("parked_batch", "parked_until", "parked_check", "parked_reason"))
    if state in OVER:
        values["finished_at"] = sa.func.now()
    kind = connection.scalar(
        sa.update(runs)
        .where(runs.c.run_id == run_id, runs.c.state.in_(states_before(RUN_TRANSITIONS, state)))
        .values(values)
        .returning(runs.c.kind)
    )
    if kind is None:
        return False
    record(connection, run_id, actor, f"run.{state}", why or reason)
    if state in OVER:
        totals.add_one(connection, "flowshift_runs_ended", kind, state)
    return True


def finish_if_last(connection: sa.Connection, run_id: int, actor: str) -> bool:
    """Take a running run to `finishing` if no batch is left; says whether it is finishing now.

    Call it after the batch has committed: of the last two to finish at once, the later commit sees
    both as done (design section 6, guarantee 6). A run that a process left in `finishing` counts.
    """
    open_batches = sa.select(batches.c.number).where(
        batches.c.run_id == run_id, batches.c.state.in_(["pending", "running"])
    )
    if connection.scalar(sa.select(sa.exists(open_batches))):
        return False
    if apply(connection, run_id, "finishing", reason=None, actor=actor):
        return True
    return connection.scalar(sa.select(runs.c.state).where(runs.c.run_id == run_id)) == "finishing"
