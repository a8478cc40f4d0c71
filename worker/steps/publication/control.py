"""Plan a publication and move it on by hand: publish, go, hold, stop."""

from __future__ import annotations

from typing import Final

import msgspec
import sqlalchemy as sa

from worker.core.policy.states import OVER as RUN_OVER
from worker.core.publication.states import PUBLICATION_TRANSITIONS
from worker.core.targets.convert import CONVERTER_VERSION
from worker.db import audit, outbox, planning, run_transitions, runs
from worker.db.engine import map_database_errors
from worker.db.publication import waves
from worker.db.publication.locks import lock_state
from worker.db.publication.waves import Publication, Wave
from worker.db.runs import RunOptions
from worker.errors import UsageError
from worker.runtime import Runtime
from worker.steps.publication.plan import Wanted, plan_of
from worker.steps.publication.settle import settle_locked

BATCH: Final = 200


class Going(msgspec.Struct, frozen=True):
    """A publication, and the run that publishes its wave now; None if none does."""

    publication_id: int
    run_id: int | None
    said: str


def publish(current: Runtime, wanted: Wanted, *, request_id: str, actor: str) -> Going:
    """Plan a publication as rows and begin its first wave. On repeat the first one is returned.

    Raises:
        UsageError: there is no such run, or no bot to publish; nothing was changed.
    """
    with map_database_errors(), current.engine.begin() as connection:
        publication_id, is_new = waves.create(
            connection,
            request_id=request_id,
            source_run_id=wanted.run_id,
            options=wanted.options,
            requested_by=actor,
        )
        if not is_new:
            run_ids = [one.run_id for one in waves.of(connection, publication_id) if one.run_id]
            return Going(publication_id, run_ids[-1] if run_ids else None, "is there already")
        waves.add_plan(connection, publication_id, plan_of(connection, wanted, str(publication_id)))
        _note(connection, publication_id, "created", actor, None)
        lock_state(connection, publication_id, alone=True)
        return _begin_next(connection, publication_id, actor)


# -- moving on -------------------------------------------------------------------------------------


def go(current: Runtime, publication_id: int, *, actor: str, reason: str | None) -> Going:
    """Let a publication go on: resume what is held, else accept the wave that is watched.

    Raises:
        UsageError: there is no such publication, or it is over or rolling back, or its wave is still
            being published.
    """
    with map_database_errors(), current.engine.begin() as connection:
        lock_state(connection, publication_id, alone=True)
        found = _need(connection, publication_id)
        for wave in waves.of(connection, publication_id):
            settle_locked(connection, publication_id, wave.number)
        found = _need(connection, publication_id)
        if found.state == "held" and found.held_from is not None:
            return _resume(connection, found, actor, reason)
        if found.state == "watching":
            return _accept(connection, found, actor, reason)
        if found.state == "publishing":
            return _publish_rest(connection, found, actor)
        raise UsageError(f"publication {publication_id} is {found.state}: it cannot go on")


def hold(current: Runtime, publication_id: int, *, actor: str, reason: str | None) -> bool:
    """Hold a publication: batches at work commit, no other begins. False if it was held.

    Raises:
        UsageError: there is no such publication, or it is over or rolling back.
    """
    with map_database_errors(), current.engine.begin() as connection:
        lock_state(connection, publication_id, alone=True)
        found = _need(connection, publication_id)
        if found.state == "held":
            return False
        if (found.state, "held") not in PUBLICATION_TRANSITIONS or found.state == "rolling_back":
            raise UsageError(f"publication {publication_id} is {found.state}: it cannot be held")
        why = reason or f"held by {actor}"
        waves.move(connection, publication_id, "held", reason=why, held_from=found.state)
        _move_run(connection, publication_id, "paused", why, actor)
        _note(connection, publication_id, "held", actor, reason)
        return True


def stop(current: Runtime, publication_id: int, *, actor: str, reason: str | None) -> bool:
    """Stop a publication for good: what is out stays out. False if it was stopped.

    Raises:
        UsageError: there is no such publication, or it ended otherwise, or is rolling back.
    """
    with map_database_errors(), current.engine.begin() as connection:
        lock_state(connection, publication_id, alone=True)
        found = _need(connection, publication_id)
        if found.state == "stopped":
            return False
        if (found.state, "stopped") not in PUBLICATION_TRANSITIONS or found.state == "rolling_back":
            raise UsageError(f"publication {publication_id} is {found.state}: it cannot be stopped")
        why = reason or f"stopped by {actor}"
        waves.move(connection, publication_id, "stopped", reason=why)
        _move_run(connection, publication_id, "cancelled", why, actor)
        _note(connection, publication_id, "stopped", actor, reason)
        return True


def _need(connection: sa.Connection, publication_id: int) -> Publication:
    found = waves.get(connection, publication_id)
    if found is None:
        raise UsageError(
            f"there is no publication {publication_id}: `flowshift publications` lists them"
        )
    return found


def _move_run(
    connection: sa.Connection, publication_id: int, state: str, why: str, actor: str
) -> None:
    for wave in waves.of(connection, publication_id):
        if wave.run_id is not None:
            run_transitions.apply(connection, wave.run_id, state, reason=why, actor=actor)  # type: ignore[arg-type]


def _resume(connection: sa.Connection, found: Publication, actor: str, reason: str | None) -> Going:
    publication_id = found.publication_id
    waves.move(connection, publication_id, found.held_from or "publishing")
    _note(connection, publication_id, "resumed", actor, reason)
    found = _need(connection, publication_id)
    if found.state == "publishing":
        for wave in waves.of(connection, publication_id):
            settle_locked(connection, publication_id, wave.number)
        found = _need(connection, publication_id)
    if found.state == "planned":
        return _begin_next(connection, publication_id, actor)
    if found.state == "publishing":
        return _publish_rest(connection, found, actor)
    return Going(publication_id, None, "is watching again: `go` once more accepts its wave")


def _publish_rest(connection: sa.Connection, found: Publication, actor: str) -> Going:
    """Go on with the wave that is being published: its run, or a new one if that is over."""
    publication_id = found.publication_id
    wave = next((w for w in waves.of(connection, publication_id) if w.state == "publishing"), None)
    if wave is None:  # it was rolled back meanwhile
        return _begin_next(connection, publication_id, actor)
    run = runs.get(connection, wave.run_id) if wave.run_id is not None else None
    if run is None or run.state in RUN_OVER:
        return _begin(connection, found, wave, actor)
    if run.state == "paused":
        outbox.put_back_all(connection, run.run_id)
        run_transitions.apply(connection, run.run_id, "running", reason=None, actor=actor)
    return Going(publication_id, run.run_id, f"publishes wave {wave.number}")


def _accept(connection: sa.Connection, found: Publication, actor: str, reason: str | None) -> Going:
    """A person accepts the wave that is watched: its bots are confirmed, the next wave begins."""
    publication_id = found.publication_id
    wave = next((w for w in waves.of(connection, publication_id) if w.state == "watching"), None)
    if wave is not None:
        waves.move_wave(
            connection,
            publication_id,
            wave.number,
            "accepted",
            accepted_by=actor,
            accepted_reason=reason or "let go on by a person",
            decided_at=sa.func.now(),
        )
        waves.confirm_bots(connection, publication_id, wave.number)
        _note(connection, publication_id, "accepted", actor, reason, wave=wave.number)
    return _begin_next(connection, publication_id, actor)


def _begin_next(connection: sa.Connection, publication_id: int, actor: str) -> Going:
    found = _need(connection, publication_id)
    wave = next((w for w in waves.of(connection, publication_id) if w.state == "pending"), None)
    if wave is None:
        waves.move(connection, publication_id, "completed")
        _note(connection, publication_id, "completed", actor, None)
        return Going(publication_id, None, "is completed: every wave is out")
    waves.move(connection, publication_id, "publishing")
    return _begin(connection, found, wave, actor)


def _begin(connection: sa.Connection, found: Publication, wave: Wave, actor: str) -> Going:
    """Make the run that publishes what is pending of a wave; it runs once this commits."""
    publication_id = found.publication_id
    bot_ids = waves.pending_bots(connection, publication_id, wave.number)
    attempt = f":{wave.run_id}" if wave.run_id is not None else ""
    run, _ = runs.create(
        connection,
        request_id=f"publication-{publication_id}-wave-{wave.number}{attempt}",
        kind="publish",
        options=RunOptions(selection="listed", batch_size=BATCH, target=found.options.target),
        dry_run=False,
        requested_by=actor,
        converter_version=CONVERTER_VERSION,
    )
    planned = planning.plan_listed(connection, run.run_id, bot_ids, BATCH)
    runs.note_planned(
        connection,
        run.run_id,
        through=None,
        batch_count=planned.batches,
        bot_count=planned.bots,
    )
    run_transitions.apply(connection, run.run_id, "running", reason=None, actor=actor)
    waves.move_wave(
        connection,
        publication_id,
        wave.number,
        "publishing",
        run_id=run.run_id,
        started_at=sa.func.now(),
    )
    _note(connection, publication_id, "publishing", actor, None, wave=wave.number)
    return Going(publication_id, run.run_id, f"publishes wave {wave.number}: {planned.bots:,} bots")


def _note(
    connection: sa.Connection,
    publication_id: int,
    what: str,
    actor: str,
    reason: str | None,
    **detail: object,
) -> None:
    said = f"publication {publication_id}{f': {reason}' if reason else ''}"
    values = {"publication": publication_id, **detail}
    audit.record(connection, None, actor, f"publication.{what}", said, values)
