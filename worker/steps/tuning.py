"""Change a run's limits in the database. The next batch obeys."""

from __future__ import annotations

from typing import Any

import msgspec
import sqlalchemy as sa

from worker.core.policy.limits import check_limits
from worker.core.policy.states import OVER, words
from worker.db import audit, control
from worker.db.engine import map_database_errors
from worker.errors import ConflictError
from worker.log import get_logger
from worker.steps import find

log = get_logger(__name__)


class Tuning(msgspec.Struct, frozen=True, kw_only=True):
    """New limits of a run; UNSET leaves one as it is, None removes it."""

    max_rate: float | msgspec.UnsetType | None = msgspec.UNSET
    concurrency: int | msgspec.UnsetType | None = msgspec.UNSET
    batch_window: int | msgspec.UnsetType | None = msgspec.UNSET
    batch_size: int | msgspec.UnsetType = msgspec.UNSET
    max_failures: float | msgspec.UnsetType = msgspec.UNSET


def tune(engine: sa.Engine, run_id: int, tuning: Tuning, *, actor: str) -> dict[str, Any]:
    """Change the limits of an active run; returns what changed as {name: [old, new]}.

    Enqueue its batches afterwards: more may fit into the queue now.

    Raises:
        UsageError: there is no such run, it is over, or a limit is out of bounds.
        TransientError: the database was unavailable.
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
            raise ConflictError(f"run {run_id} is {words(run.state)}: there is nothing to tune")
        changed = {
            name: [getattr(run.options, name), value]
            for name, value in wanted.items()
            if getattr(run.options, name) != value
        }
        if changed:
            control.tune(connection, run_id, {name: new for name, (_, new) in changed.items()})
            audit.record(connection, run_id, actor, "run.tuned", None, changed)
    if changed:
        log.info(
            "run.tuned", run_id=run_id, actor=actor, **{n: new for n, (_, new) in changed.items()}
        )
    return changed
