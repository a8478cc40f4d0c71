"""The circuit breaker: a run pauses itself when too many bots fail, or when a health check says stop."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import sqlalchemy as sa

from worker.core.notify.runs import run_paused
from worker.core.policy import circuit_breaker
from worker.core.policy.health import Verdict
from worker.db import control, notifications, outbox, run_transitions, runs
from worker.db.engine import map_database_errors
from worker.log import get_logger

log = get_logger(__name__)

OURSELVES: Final = "flowshift"
"""The actor in the audit trail if no person decided."""


def stop_if_failing(engine: sa.Engine, run_id: int) -> bool:
    """Pause a run if too many of its bots fail with one code; True if this call did.

    Call it after a batch with failures has committed: it counts committed batches only. A run with
    no batch left to begin is not paused: there is nothing to stop.
    """
    with map_database_errors(), engine.begin() as connection:
        if (
            _trip_reason(connection, run_id) is None
            or outbox.any_pending(connection, run_id) is None
        ):
            return False
        # Again with the run locked: a person may have resumed it in between.
        reason = _trip_reason(connection, run_id, lock=True)
        paused = reason is not None and _stop(connection, run_id, reason)
    if paused:
        _log_stop(run_id, reason)
    return paused


def _trip_reason(connection: sa.Connection, run_id: int, *, lock: bool = False) -> str | None:
    run = runs.get(connection, run_id, lock=lock)
    if run is None or run.state != "running":
        return None
    return circuit_breaker.trip_reason(control.window(connection, run), run.options.max_failures)


def stop_for_health(engine: sa.Engine, run_id: int, ask: Callable[[], Verdict]) -> bool:
    """Pause a run if a check says stop; True if the run is not running now, whatever paused it.

    `ask` reads the checks again with the run locked: a run that a person has resumed is not paused
    for what was read before.
    """
    with map_database_errors(), engine.begin() as connection:
        run = runs.get(connection, run_id, lock=True)
        if run is None or run.state != "running":
            return True
        verdict = ask()
        if verdict.decision != "stop":
            return False
        reason = f"{verdict.check}: {verdict.reason}"
        paused = _stop(connection, run_id, reason)
    if paused:
        _log_stop(run_id, reason)
    return paused


def _stop(connection: sa.Connection, run_id: int, reason: str) -> bool:
    if not run_transitions.apply(connection, run_id, "paused", reason=reason, actor=OURSELVES):
        return False
    kind = runs.kind_of(connection, run_id) or "convert"
    notifications.notify(connection, run_paused(run_id, kind, reason))
    return True


def _log_stop(run_id: int, reason: str | None) -> None:
    """Log it after the commit, which may fail."""
    log.warning("run.stopped", run_id=run_id, state="paused", actor=OURSELVES, reason=reason)
