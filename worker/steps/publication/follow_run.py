"""A publication follows the run that publishes its wave: held while a health check pauses that."""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa

from worker.core.counted import counted
from worker.core.policy.states import OVER, words
from worker.db import runs
from worker.db.control import trail
from worker.db.publication import moves, waves
from worker.db.publication.waves import Publication, Wave
from worker.db.runs import Run
from worker.log import get_logger
from worker.steps.breaker import OURSELVES
from worker.steps.publication.state import need, note, wave_in

log = get_logger(__name__)

_LINES: Final = 20


def follow_run(connection: sa.Connection, publication_id: int, actor: str) -> str | None:
    """Hold a publication whose run was paused by a health check, or is over before its wave is out.

    One that is held for its health goes on once its run does. Returns in words what was changed,
    None for nothing. The caller has the state locked, and what is out is settled. On repeat nothing
    changes.
    """
    found = need(connection, publication_id)
    wave = wave_in(waves.of(connection, publication_id), "publishing")
    if wave is None or wave.run_id is None:
        return None
    run = runs.existing(connection, wave.run_id)
    if found.state == "held" and found.held_because == "health":
        return _go_on(connection, found, run, actor)
    if found.state != "publishing":
        return None
    if run.state == "paused" and _paused_by(connection, run) == OURSELVES:
        return _hold(
            connection, found, "health", f"run {run.run_id} paused: {run.state_reason}", actor
        )
    if run.state in OVER:
        because = "person" if run.state == "cancelled" else "failed"
        return _hold(connection, found, because, _left(found, wave, run), actor)
    return None


def let_go_on(connection: sa.Connection, found: Publication, actor: str) -> bool:
    """Let a publication go on that is held for its health: its run works again. Needs the lock."""
    if found.state != "held" or found.held_because != "health":
        return False
    moves.move(connection, found.publication_id, found.held_from or "publishing")
    note(connection, found.publication_id, "resumed", actor, "its run works again")
    log.info("publication.resumed", publication_id=found.publication_id, actor=actor)
    return True


def _go_on(connection: sa.Connection, found: Publication, run: Run, actor: str) -> str | None:
    if run.state != "running" or not let_go_on(connection, found, actor):
        return None
    return f"goes on: run {run.run_id} works again"


def _hold(connection: sa.Connection, found: Publication, because: str, why: str, actor: str) -> str:
    moves.hold(
        connection,
        found.publication_id,
        held_from=found.state,
        because=because,  # type: ignore[arg-type]
        reason=why,
    )
    note(connection, found.publication_id, "held", actor, why, because=because)
    log.warning(
        "publication.held", publication_id=found.publication_id, because=because, reason=why
    )
    return f"held: {why}"


def _paused_by(connection: sa.Connection, run: Run) -> str | None:
    lines = trail(connection, run.run_id, _LINES)
    return next((line.actor for line in reversed(lines) if line.action == "run.paused"), None)


def _left(found: Publication, wave: Wave, run: Run) -> str:
    of = f"of wave {wave.number}"
    left = counted(wave.pending, f"bot {of} is", f"bots {of} are")
    return (
        f"run {run.run_id} {words(run.state)}, and {left} not out:"
        f" flowshift go {found.publication_id} publishes them"
    )
