"""When the beat prunes, and a prune with what a process holds: its settings, health checks, Redis."""

from __future__ import annotations

import datetime as dt
from typing import Any

from worker.core.policy.prune import DAY_S, may_begin, slot_at
from worker.db import runs
from worker.db.engine import map_database_errors
from worker.db.prune import executions, record
from worker.db.publication import outline
from worker.progress.expiry import expire_keys, forget_run
from worker.runtime import Runtime
from worker.settings import Settings
from worker.steps.prune.prune import Keep, Result, prune
from worker.steps.prune.session import Check
from worker.steps.throttle import Throttle


def keep_of(settings: Settings, *, executions_s: int | None = None) -> Keep:
    """How long the settings keep records; `executions_s` where a person said otherwise."""
    return Keep(
        executions_s=executions_s or settings.keep_executions_days * DAY_S,
        runs_s=settings.keep_runs_days * DAY_S,
        ledger_s=settings.keep_ledger_days * DAY_S,
        audit_s=settings.keep_audit_days * DAY_S,
    )


def check_of(current: Runtime) -> Check:
    """What a prune asks before each batch: the health checks that a run's batches pass."""
    return Throttle(current.engine, current.settings).check


def due(current: Runtime) -> dt.datetime | None:
    """The slot for which there is something to do, by the database's clock; None for none.

    A prune begins within an hour of its time. One that has begun goes on until the next one's.
    """
    with map_database_errors(), current.engine.connect() as connection:
        now_s = int(executions.now(connection).timestamp())
        slot_s = slot_at(now_s, current.settings.prune_at)
        if slot_s is None:
            return None
        slot = dt.datetime.fromtimestamp(slot_s, dt.UTC)
        state = record.state_of(connection, slot)
    is_due = may_begin(now_s, slot_s) if state is None else state == "running"
    return slot if is_due else None


def prune_here(current: Runtime, keep: Keep, **options: Any) -> Result:
    """`prune` with the health checks of the settings; old keys in Redis go too."""
    settings = current.settings
    result = prune(
        current.engine,
        keep,
        check=check_of(current),
        forget_run=lambda run_id: forget_run(current.redis, settings.namespace, run_id),
        **options,
    )
    if result.state == "done":
        _expire_keys(current)
    return result


def _expire_keys(current: Runtime) -> None:
    def is_current(run_id: int) -> bool:
        with map_database_errors(), current.engine.connect() as connection:
            run = runs.get(connection, run_id)
        return run is not None and run.finished_at is None

    def is_open(publication_id: int) -> bool:
        with map_database_errors(), current.engine.connect() as connection:
            found = outline.one(connection, publication_id)
        return found is not None and not found.is_over

    expire_keys(
        current.redis,
        current.settings.namespace,
        keep_s=current.settings.progress_keep_s,
        is_current=is_current,
        is_open=is_open,
    )
