"""Plan a publication, and move it by hand: publish, go, accept, hold, stop."""

from __future__ import annotations

import msgspec
import sqlalchemy as sa

from worker.core.policy.states import OVER as RUN_OVER
from worker.core.publication.gate import GateMode
from worker.core.publication.states import PUBLICATION_TRANSITIONS, PublicationState
from worker.db import outbox, run_transitions, runs
from worker.db.engine import map_database_errors
from worker.db.publication import moves, waves
from worker.db.publication.anew import count_anew
from worker.db.publication.locks import lock_state
from worker.db.publication.waves import Publication, Wave
from worker.errors import ConflictError, UsageError
from worker.log import get_logger
from worker.runtime import Runtime
from worker.steps import request_ids
from worker.steps.backup.recent import why_no_wave
from worker.steps.publication.accept import accept_wave, gate_decides, to_accept
from worker.steps.publication.ask_alerts import why_alerts
from worker.steps.publication.asked import asked_of_late
from worker.steps.publication.begin import Going, begin, begin_next
from worker.steps.publication.plan import Wanted, plan_of, too_large_first
from worker.steps.publication.proven import resume
from worker.steps.publication.settle import settle_locked
from worker.steps.publication.state import move_runs, need, note, wave_in

log = get_logger(__name__)

NO_BACKUP = "lets its waves begin without a verified backup from now on"


def publish(
    current: Runtime, wanted: Wanted, *, request_id: str, actor: str, gate: GateMode | None = None
) -> Going:
    """Plan a publication as rows and begin its first wave, or let it wait for alerts.

    On repeat the first publication is returned.

    `gate` is what the gate does with its waves; None is what the settings say.

    Raises:
        ConflictError: another request has this id, or a large first wave has no backup.
        UsageError: there is no such run, or no bot to publish.
    """
    asked = _digest(wanted, gate)
    said = ", ".join(step.text for step in wanted.steps)
    options = msgspec.structs.replace(wanted.options, waves=said, request_digest=asked)
    traffic = asked_of_late(current.engine)
    with map_database_errors(), current.engine.begin() as connection:
        request_ids.need_free(connection, request_id, "publication")
        publication_id, is_new = waves.create(
            connection,
            request_id=request_id,
            source_run_id=wanted.run_id,
            options=options,
            requested_by=actor,
            gate=gate or current.settings.gate,
        )
        if not is_new:
            return _again(connection, need(connection, publication_id), request_id, asked)
        plan = plan_of(connection, wanted, str(publication_id), traffic)
        waves.add_plan(connection, publication_id, plan)
        note(connection, publication_id, "created", actor, None)
        lock_state(connection, publication_id, alone=True)
        return _begin_first(connection, publication_id, actor)


def of_request(
    engine: sa.Engine, wanted: Wanted, request_id: str, *, gate: GateMode | None = None
) -> Going | None:
    """What an earlier request with this id began, None if there was none.

    Raises:
        ConflictError: another request has this id.
        TransientError: the database was unavailable.
    """
    with map_database_errors(), engine.connect() as connection:
        found = waves.of_request(connection, request_id)
        if found is None:
            return None
        return _again(connection, found, request_id, _digest(wanted, gate))


def _digest(wanted: Wanted, gate: GateMode | None) -> str:
    """Of what was asked for; the target is found, not asked for."""
    options = msgspec.structs.replace(wanted.options, target="", request_digest="")
    return request_ids.digest(msgspec.structs.replace(wanted, options=options), gate)


def _again(connection: sa.Connection, found: Publication, request_id: str, asked: str) -> Going:
    name = f"publication {found.publication_id}"
    request_ids.need_same(request_id, name, found.options.request_digest, asked)
    run_ids = [one.run_id for one in waves.of(connection, found.publication_id) if one.run_id]
    return Going(found.publication_id, run_ids[-1] if run_ids else None, "is there already")


def _begin_first(connection: sa.Connection, publication_id: int, actor: str) -> Going:
    first = wave_in(waves.of(connection, publication_id), "pending")
    if first is None:
        return begin_next(connection, publication_id, actor)
    if why := why_no_wave(connection, need(connection, publication_id), first):
        raise ConflictError(too_large_first(why))
    if why_alerts(connection, need(connection, publication_id), first):
        return begin_next(connection, publication_id, actor)  # it says why, and begins by itself
    moves.move(connection, publication_id, "publishing")
    return begin(connection, need(connection, publication_id), first, actor)


# -- moving on -------------------------------------------------------------------------------------


def go(
    current: Runtime,
    publication_id: int,
    *,
    actor: str,
    reason: str | None,
    without_backup: bool = False,
) -> Going:
    """Let a publication go on that is held, or whose run stands still.

    A wave that is held as failed or inconclusive is accepted, which needs a `reason`. One that failed
    before it was all out is published on, and so is one that was disturbed or only alarmed: only
    executions since now count for it. A wave that is watched is never accepted here, whatever the
    reason. On repeat nothing changes: what goes on already is refused, or its run is returned.
    `without_backup`: no wave of it waits for a backup from now on; also noted while a wave is watched.

    Raises:
        UsageError: there is no such publication, or its wave is watched, or it is over or rolling
            back, or a reason is needed and not given; nothing was changed.
    """
    with map_database_errors(), current.engine.begin() as connection:
        found = _locked(connection, publication_id)
        if without_backup and found.options.needs_backup:
            moves.begin_without_backup(connection, publication_id)
            note(connection, publication_id, "without_backup", actor, reason)
            found = need(connection, publication_id)
        its = waves.of(connection, publication_id)
        decided = wave_in(its, "failed", "inconclusive")
        if found.state == "held" and decided is not None:
            why = _need_reason(reason, f"wave {decided.number} is {decided.state}")
            if decided.pending:
                return _publish_on(connection, found, decided, actor, why)
            return accept_wave(connection, found, decided, actor, why, goes_on=True)
        if found.state == "held":
            return _resume(connection, found, actor, reason)
        watched = wave_in(its, "watching")
        if found.state == "watching" and watched is not None:
            if without_backup:
                said = f"{NO_BACKUP}. Wave {watched.number} is watched: the gate decides"
                return Going(publication_id, None, said)
            raise ConflictError(gate_decides(publication_id, watched))
        if found.state in ("watching", "planned"):
            return begin_next(connection, publication_id, actor)
        if found.state == "publishing":
            return _publish_rest(connection, found, actor)
        raise ConflictError(f"publication {publication_id} is {found.state}: it cannot go on")


def accept(
    current: Runtime, publication_id: int, wave: int | None, *, actor: str, reason: str
) -> Going:
    """Accept a wave that the gate did not let pass; it is never judged again.

    Without `wave` it is the one that was inconclusive or failed: one that is watched has to be named, so
    that a command typed twice does not accept the next one. Its bots are confirmed. The next wave
    begins, unless a person or a health check holds the publication.

    Raises:
        UsageError: there is no such publication or wave, or the wave is not to be accepted.
    """
    with map_database_errors(), current.engine.begin() as connection:
        found = _locked(connection, publication_id)
        its = waves.of(connection, publication_id)
        one = to_accept(found, its, wave)
        why = _need_reason(reason, f"wave {one.number} is {one.state}")
        goes_on = found.held_because not in ("person", "health")
        return accept_wave(connection, found, one, actor, why, goes_on=goes_on)


def hold(current: Runtime, publication_id: int, *, actor: str, reason: str | None) -> bool:
    """Hold a publication: batches at work commit, no other begins. False if it was held.

    Raises:
        UsageError: there is no such publication, or it is over or rolling back.
    """
    with map_database_errors(), current.engine.begin() as connection:
        lock_state(connection, publication_id, alone=True)
        found = need(connection, publication_id)
        why = reason or f"held by {actor}"
        if found.state == "held" and found.held_because not in ("alarm", "health"):
            return False
        held_from = _moving(found, "held")
        moves.hold(connection, publication_id, held_from=held_from, because="person", reason=why)
        move_runs(connection, publication_id, "paused", why, actor)
        note(connection, publication_id, "held", actor, reason)
        log.info("publication.held", publication_id=publication_id, because="person", reason=why)
        return True


def _moving(found: Publication, new: PublicationState) -> PublicationState:
    """The state that a publication is to be held from."""
    if found.state == "held" and found.held_from is not None:
        return found.held_from
    if (found.state, new) not in PUBLICATION_TRANSITIONS or found.state == "rolling_back":
        raise ConflictError(
            f"publication {found.publication_id} is {found.state}: it cannot be held"
        )
    return found.state


def stop(current: Runtime, publication_id: int, *, actor: str, reason: str | None) -> bool:
    """Stop a publication for good: what is out stays out. False if it was stopped.

    Raises:
        UsageError: there is no such publication, or it ended otherwise, or is rolling back.
    """
    with map_database_errors(), current.engine.begin() as connection:
        lock_state(connection, publication_id, alone=True)
        found = need(connection, publication_id)
        if found.state == "stopped":
            return False
        if (found.state, "stopped") not in PUBLICATION_TRANSITIONS or found.state == "rolling_back":
            raise ConflictError(
                f"publication {publication_id} is {found.state}: it cannot be stopped"
            )
        why = reason or f"stopped by {actor}"
        moves.move(connection, publication_id, "stopped", reason=why)
        move_runs(connection, publication_id, "cancelled", why, actor)
        note(connection, publication_id, "stopped", actor, reason)
        log.info("publication.stopped", publication_id=publication_id, reason=why)
        return True


def _locked(connection: sa.Connection, publication_id: int) -> Publication:
    """The publication with its state locked, a wave that is all out settled."""
    lock_state(connection, publication_id, alone=True)
    need(connection, publication_id)
    settle_locked(connection, publication_id)
    return need(connection, publication_id)


def _need_reason(reason: str | None, what: str) -> str:
    if reason is None or not reason.strip():
        raise UsageError(f"{what}. To accept it all the same, say why: --reason TEXT")
    return reason


def _resume(connection: sa.Connection, found: Publication, actor: str, reason: str | None) -> Going:
    """Back to what it was doing; of a wave that was disturbed only executions since now count."""
    publication_id = found.publication_id
    was_disturbed = found.held_because in ("alarm", "disturbed")
    moves.move(connection, publication_id, found.held_from or "publishing")
    note(connection, publication_id, "resumed", actor, reason)
    log.info("publication.resumed", publication_id=publication_id, actor=actor)
    found = _locked(connection, publication_id)
    if not found.is_planned:
        resume(connection, found, actor)
    judged = wave_in(waves.of(connection, publication_id), "publishing", "watching")
    if was_disturbed and judged is not None:
        count_anew(connection, publication_id, judged.number)
    if found.state == "publishing":
        return _publish_rest(connection, found, actor)
    if judged is None:
        return begin_next(connection, publication_id, actor)
    return Going(publication_id, None, f"is watching wave {judged.number} again")


def _publish_on(
    connection: sa.Connection, found: Publication, wave: Wave, actor: str, reason: str
) -> Going:
    """Publish the rest of a wave that failed before it was out, judged by what comes from now on."""
    publication_id = found.publication_id
    moves.move_wave(connection, publication_id, wave.number, "publishing")
    count_anew(connection, publication_id, wave.number)
    moves.move(connection, publication_id, "publishing")
    note(connection, publication_id, "resumed", actor, reason, wave=wave.number)
    log.warning("publication.resumed", publication_id=publication_id, actor=actor, wave=wave.number)
    going = _publish_rest(connection, need(connection, publication_id), actor)
    said = "The wave is not accepted: only executions from now on count"
    return Going(publication_id, going.run_id, f"{going.said}. {said}")


def _publish_rest(connection: sa.Connection, found: Publication, actor: str) -> Going:
    """Go on with the wave that is being published: its run, or a new one if that is over."""
    publication_id = found.publication_id
    wave = wave_in(waves.of(connection, publication_id), "publishing")
    if wave is None:  # it was rolled back meanwhile
        return begin_next(connection, publication_id, actor)
    run = runs.get(connection, wave.run_id) if wave.run_id is not None else None
    if run is None or run.state in RUN_OVER:
        return begin(connection, found, wave, actor)
    if run.state == "paused":
        outbox.put_back_all(connection, run.run_id)
        run_transitions.apply(connection, run.run_id, "running", reason=None, actor=actor)
    return Going(publication_id, run.run_id, f"publishes wave {wave.number}")
