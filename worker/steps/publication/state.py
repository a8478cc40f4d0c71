"""What every step that moves a publication needs: it must be there, its run follows, it is noted."""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa

from worker.core.notify.publications import publication_moved
from worker.core.policy.states import RunState
from worker.core.publication.states import WaveState
from worker.db import audit, notifications, run_transitions
from worker.db.publication import waves
from worker.db.publication.waves import Publication, Wave
from worker.errors import NotFoundError


def need(connection: sa.Connection, publication_id: int) -> Publication:
    """The publication of that number.

    Raises:
        NotFoundError: there is none.
    """
    found = waves.get(connection, publication_id)
    if found is None:
        raise NotFoundError(
            f"there is no publication {publication_id}: `flowshift publications` lists them"
        )
    return found


def wave_in(its: Sequence[Wave], *states: WaveState) -> Wave | None:
    """The first wave that is in one of these states."""
    return next((wave for wave in its if wave.state in states), None)


def move_runs(
    connection: sa.Connection, publication_id: int, state: RunState, why: str, actor: str
) -> None:
    """Take the runs of a publication along that may go there: those of its waves, or what it waits for."""
    found = need(connection, publication_id)
    run_ids = [wave.run_id for wave in waves.of(connection, publication_id)]
    if not found.is_planned:
        run_ids.append(found.source_run_id)
    for run_id in run_ids:
        if run_id is not None:
            run_transitions.apply(connection, run_id, state, reason=why, actor=actor)


def note(
    connection: sa.Connection,
    publication_id: int,
    what: str,
    actor: str,
    reason: str | None,
    **detail: object,
) -> None:
    """Add a line to the audit trail, `publication.WHAT`, and have people told if they should be."""
    said = f"publication {publication_id}{f': {reason}' if reason else ''}"
    values = {"publication": publication_id, **detail}
    audit.record(connection, None, actor, f"publication.{what}", said, values)
    event = publication_moved(publication_id, what, actor, reason, detail)
    notifications.notify(connection, event)
