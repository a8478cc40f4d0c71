"""Control a run: pause, resume, cancel, tune, wait and stop. The database holds all of it.

Nothing is sent to workers: a claim and a publication look at the run's row, so that a word said
once takes effect at the next batch boundary, wherever the workers are and whether Redis answers.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import sqlalchemy as sa

from worker.core.policy import circuit_breaker
from worker.core.policy.health import Verdict
from worker.core.policy.states import OVER, RunState
from worker.db import batches, control, runs
from worker.db.control import Entry
from worker.db.engine import map_database_errors
from worker.db.runs import Run
from worker.errors import UsageError
from worker.log import get_logger
from worker.steps import find

log = get_logger(__name__)

OURSELVES = "flowshift"
"""The actor in the audit trail where no person decided."""

RATES = (0.01, 1_000_000.0)
CONCURRENCIES = (1, 1_000)
BATCH_SIZES = (1, 10_000)
BATCH_WINDOWS = (1, 1_000)
SHARES = (0.0, 1.0)


class Tuning(msgspec.Struct, frozen=True, kw_only=True):
    """New limits of a run; UNSET leaves one as it is, None takes it away."""

    max_rate: float | msgspec.UnsetType | None = msgspec.UNSET
    concurrency: int | msgspec.UnsetType | None = msgspec.UNSET
    batch_window: int | msgspec.UnsetType | None = msgspec.UNSET
    batch_size: int | msgspec.UnsetType = msgspec.UNSET
    max_failures: float | msgspec.UnsetType = msgspec.UNSET


# -- what a person says ------------------------------------------------------------------------


def pause_run(engine: sa.Engine, run_id: int, *, actor: str, reason: str | None) -> bool:
    """Pause a running run: batches at work commit, no other begins. False if it was paused.

    Raises:
        UsageError: there is no such run, it is still being planned, or it is over.
        TransientError: the database was away.
    """
    run = _change(engine, run_id, "paused", actor=actor, reason=reason or f"asked by {actor}")
    if run is None or run.state == "paused":
        return run is None
    if run.state == "planning":
        raise UsageError(
            f"run {run_id} is still being planned: pause it when it runs, or cancel it"
        )
    raise UsageError(f"run {run_id} is {_words(run.state)}: it cannot be paused any more")


def resume_run(engine: sa.Engine, run_id: int, *, actor: str, reason: str | None) -> bool:
    """Let a paused run go on; False if it was running. Publish its batches afterwards.

    All of them count as not sent: messages that came while it was paused have been dropped.

    Raises:
        UsageError: there is no such run, or it is not paused.
        TransientError: the database was away.
    """
    with map_database_errors():
        with engine.begin() as connection:  # while it is paused still: nobody claims these
            run = find.run(connection, run_id)
            if run.state == "paused":
                control.unpublish_waiting(connection, run_id)
        if run.state not in ("paused", "running"):
            raise UsageError(f"run {run_id} is {_words(run.state)}, not paused")
        with engine.begin() as connection:
            changed = runs.go(connection, run_id, "running", reason=None, actor=actor, why=reason)
    if changed:
        log.info("run.resumed", run_id=run_id, actor=actor)
    return changed


def cancel_run(engine: sa.Engine, run_id: int, *, actor: str, reason: str | None) -> bool:
    """End a run for good: batches at work commit, no other begins. False if it was cancelled.

    What is converted stays converted.

    Raises:
        UsageError: there is no such run, or it ended otherwise.
        TransientError: the database was away.
    """
    run = _change(engine, run_id, "cancelled", actor=actor, reason=reason or f"asked by {actor}")
    if run is None or run.state == "cancelled":
        return run is None
    raise UsageError(f"run {run_id} is {_words(run.state)}: there is nothing to cancel")


def _change(
    engine: sa.Engine, run_id: int, state: RunState, *, actor: str, reason: str
) -> Run | None:
    """Take a run to `state`: None where that was done, else the run as it is."""
    with map_database_errors(), engine.begin() as connection:
        run = find.run(connection, run_id)
        # "running" is gone through by every run that is planned: only what may go there goes.
        if not runs.go(connection, run_id, state, reason=reason, actor=actor):
            return runs.get(connection, run_id) or run
    log.info("run.stopped", run_id=run_id, state=state, actor=actor, reason=reason)
    return None


def tune_run(engine: sa.Engine, run_id: int, tuning: Tuning, *, actor: str) -> dict[str, Any]:
    """Change a run's limits while it goes on; returns what changed as {name: [old, new]}.

    The next batch to be claimed obeys. Publish afterwards: more may fit into the queue now.

    Raises:
        UsageError: there is no such run, it is over, or a limit makes no sense.
        TransientError: the database was away.
    """
    wanted = {
        name: value
        for name, value in msgspec.structs.asdict(tuning).items()
        if value is not msgspec.UNSET
    }
    check_limits(**wanted)
    with map_database_errors(), engine.begin() as connection:
        run = find.run(connection, run_id, lock=True)
        if run.state in OVER:
            raise UsageError(f"run {run_id} is {_words(run.state)}: there is nothing to tune")
        changed = {
            name: [getattr(run.options, name), value]
            for name, value in wanted.items()
            if getattr(run.options, name) != value
        }
        if changed:
            control.tune(connection, run_id, {name: new for name, (_, new) in changed.items()})
            runs.record(connection, run_id, actor, "run.tuned", None, changed)
    if changed:
        log.info(
            "run.tuned", run_id=run_id, actor=actor, **{n: new for n, (_, new) in changed.items()}
        )
    return changed


def audit_trail(engine: sa.Engine, run_id: int | None, limit: int) -> list[Entry]:
    """The newest `limit` entries of a run, or of all runs if `run_id` is None; the newest last.

    Raises:
        UsageError: there is no such run.
        TransientError: the database was away.
    """
    with map_database_errors(), engine.connect() as connection:
        if run_id is not None:
            find.run(connection, run_id)
        return control.trail(connection, run_id, limit)


def check_limits(
    *,
    max_rate: float | None = None,
    concurrency: int | None = None,
    batch_window: int | None = None,
    batch_size: int | None = None,
    max_failures: float | None = None,
) -> None:
    """Raise UsageError where a limit of a run is out of its bounds."""
    for name, value, (low, high) in (
        ("max rate", max_rate, RATES),
        ("concurrency", concurrency, CONCURRENCIES),
        ("batch window", batch_window, BATCH_WINDOWS),
        ("batch size", batch_size, BATCH_SIZES),
        ("share of failures", max_failures, SHARES),
    ):
        if value is not None and not low <= value <= high:
            raise UsageError(f"the {name} must be from {low:,g} to {high:,.10g} (it is {value})")


def _words(state: RunState) -> str:
    return state.replace("_", " ")


# -- what the run says itself ------------------------------------------------------------------


def stop_if_failing(engine: sa.Engine, run_id: int) -> bool:
    """Pause a run in which too many bots fail alike; says whether this call did.

    Call it after a batch with failures has committed: it looks at committed batches only. A run
    with no batch left to begin is not paused: there is nothing to stop.
    """
    with map_database_errors(), engine.begin() as connection:
        if (
            _objection(connection, run_id) is None
            or batches.any_pending(connection, run_id) is None
        ):
            return False
        # Once more while nobody can change the run: somebody may have let it go on meanwhile.
        reason = _objection(connection, run_id, lock=True)
        paused = reason is not None and _stop(connection, run_id, reason)
    if paused:
        _log_stop(run_id, reason)
    return paused


def _objection(connection: sa.Connection, run_id: int, *, lock: bool = False) -> str | None:
    run = runs.get(connection, run_id, lock=lock)
    if run is None or run.state != "running":
        return None
    return circuit_breaker.objection(control.window(connection, run), run.options.max_failures)


def stop_for_health(engine: sa.Engine, run_id: int, ask: Callable[[], Verdict]) -> bool:
    """Pause a run if a check says stop; says whether the run stands still now, whoever paused it.

    `ask` reads the checks again, while nobody can change the run: one that a person has let go on
    is not paused by what was read before that.
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
    return runs.go(connection, run_id, "paused", reason=reason, actor=OURSELVES)


def _log_stop(run_id: int, reason: str | None) -> None:
    """Log it after the commit: before, it may not come to be."""
    log.warning("run.stopped", run_id=run_id, state="paused", actor=OURSELVES, reason=reason)


def wait_for_run(engine: sa.Engine, run_id: int, number: int, verdict: Verdict) -> bool:
    """Let this batch wait for its run; False where another one does, or the run does not run.

    Then this batch leaves the queue: it is published again when the run goes on.
    """
    with map_database_errors(), engine.begin() as connection:
        if control.hold(connection, run_id, number, verdict):
            return True
        batches.unpublish(connection, run_id, [number])
        return False


def give_back(engine: sa.Engine, run_id: int, number: int) -> None:
    """Take a batch that may not begin out of the queue, for whoever publishes next."""
    with map_database_errors(), engine.begin() as connection:
        batches.unpublish(connection, run_id, [number])


def stop_waiting(engine: sa.Engine, run_id: int, number: int) -> None:
    """Say that what this batch waited for has come."""
    with map_database_errors(), engine.begin() as connection:
        control.release(connection, run_id, number)
