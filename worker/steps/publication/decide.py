"""What follows from a look: the gate's verdict and everything that it changes, in one transaction.

    reading ─► judge ─► kept ─► sick bots go back alone ─► watch · go on · hold · roll back

A look that is older than what the publication has become meanwhile changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

import msgspec
import sqlalchemy as sa

from worker.core.counted import counted
from worker.core.policy.health import Verdict as Health
from worker.core.publication.confirm import MOST_SICK
from worker.core.publication.evidence import Reading
from worker.core.publication.gate import Action, Outcome, Verdict, action, judge
from worker.core.publication.states import HeldBecause, WaveState
from worker.db.engine import map_database_errors
from worker.db.publication import moves, readings, rolling, traffic_later, waves
from worker.db.publication.locks import lock_state
from worker.db.publication.rolling import Which
from worker.db.publication.waves import Publication, Wave
from worker.errors import StaleError
from worker.log import get_logger
from worker.runtime import Runtime
from worker.steps.publication.ask_alerts import why_alerts
from worker.steps.publication.begin import begin_next
from worker.steps.publication.rollback import look as preview_of
from worker.steps.publication.state import move_runs, need, note
from worker.steps.publication.take_back import quarantine

log = get_logger(__name__)

QUARANTINED_AT_ONCE: Final = MOST_SICK
"""Sick bots that one tick takes back: the next one takes more."""

NAMED: Final = 20
"""Bots that a line of the log names."""

OBSERVED: Final = "the gate only observes: what is inconclusive goes on"


class Decided(msgspec.Struct, frozen=True):
    """What a tick did with a publication, in words.

    `run_id` is the run that it began, `take_back` the wave that is to go back, `ended` what became of
    the wave, `held` why the publication is held now.
    """

    said: str
    run_id: int | None = None
    take_back: int | None = None
    ended: WaveState | None = None
    held: HeldBecause | None = None


class Looked(msgspec.Struct, frozen=True, kw_only=True):
    """A publication and a wave of it as they were before the look, and the look.

    `health` is what the health checks say, for a wave that begins; `actor` decides.
    """

    publication: Publication
    wave: Wave
    reading: Reading
    health: Health
    actor: str

    @property
    def place(self) -> tuple[int, int]:
        """The publication's number, and the wave's."""
        return self.publication.publication_id, self.wave.number


def decide(current: Runtime, looked: Looked) -> Decided:
    """Judge a wave by what was read of it, and do what follows; all of it commits, or nothing.

    Raises:
        StaleError: the publication or the wave has moved since: nothing was changed.
        TransientError: the database was unavailable or busy: nothing was changed.
    """
    publication_id, wave = looked.place
    verdict = judge(looked.reading)
    does = _action(current, looked, verdict)
    with map_database_errors(), current.engine.begin() as connection:
        lock_state(connection, publication_id, alone=True)
        _refuse_if_moved(connection, looked)
        readings.keep(connection, looked.reading, verdict)
        moves.note_look(connection, publication_id)
        moves.change_wave(connection, publication_id, wave, sentence=verdict.sentence)
        traffic_later.stand(connection, publication_id, wave, verdict.stands)
        busy = _quarantine(connection, looked, verdict)
        if does == "go_on" and busy:
            sick = counted(busy, "sick bot is", "sick bots are")
            return Decided(f"wave {wave} passes once {sick} back on V1: locked by another session")
        if does == "go_on" and (why := why_alerts(connection, looked.publication, looked.wave)):
            moves.wait(connection, publication_id, f"wave {wave} does not pass yet: {why}")
            return Decided(f"wave {wave} does not pass yet: {why}")
        decided = _ACTIONS[does](connection, looked, verdict)
    _log(looked, verdict, decided)
    return decided


def _log(looked: Looked, verdict: Verdict, decided: Decided) -> None:
    """Log what has committed; what a person must know is an error."""
    publication_id, wave = looked.place
    count = looked.reading.failures.count
    keys = {"executions": count.executions, "failed": count.failed, "reason": verdict.sentence}
    if decided.ended == "passed":
        log.info("wave.passed", publication_id=publication_id, wave=wave, **keys)
    if decided.ended == "failed":
        log.error("wave.failed", publication_id=publication_id, wave=wave, **keys)
    if decided.ended == "inconclusive":
        log.error("wave.inconclusive", publication_id=publication_id, wave=wave, **keys)
    if decided.held is not None:
        reason = verdict.sentence
        log.error(
            "publication.held", publication_id=publication_id, because=decided.held, reason=reason
        )


def _action(current: Runtime, looked: Looked, verdict: Verdict) -> Action:
    """What the mode does with a verdict; the preview is asked only where the wave may go back."""
    mode = looked.publication.gate
    does = action(verdict.outcome, mode, loses_nothing=True)
    if does != "roll_back":
        return does
    publication_id, wave = looked.place
    preview = preview_of(current, Which(publication_id=publication_id, wave=wave)).preview
    return action(verdict.outcome, mode, loses_nothing=preview.loses_nothing)


def _refuse_if_moved(connection: sa.Connection, looked: Looked) -> None:
    before = looked.publication
    now = need(connection, before.publication_id)
    its = waves.of(connection, before.publication_id)
    wave = next((one for one in its if one.number == looked.wave.number), None)
    is_same = (now.version, now.state) == (before.version, before.state)
    # A wave that is all out is settled before it is looked at: this one came out meanwhile.
    came_out = looked.wave.state == "publishing" and looked.reading.is_whole
    if is_same and not came_out and wave is not None and wave.state == looked.wave.state:
        return
    raise StaleError(
        f"publication {before.publication_id} has moved since the look: the next tick looks again"
    )


def _quarantine(connection: sa.Connection, looked: Looked, verdict: Verdict) -> int:
    """Take sick bots back to V1 alone; returns how many could not be had, and come again."""
    publication_id, wave = looked.place
    goes_on = verdict.outcome in ("watching", "passed", "inconclusive")
    sick = verdict.quarantined[:QUARANTINED_AT_ONCE]
    if not sick or not goes_on or looked.publication.gate == "observe":
        return 0
    returned = quarantine(connection, publication_id, wave, sick, reason=verdict.sentence)
    stay = [one.bot_id for one in returned if one.state == "no_way_back"]
    if stay:
        log.warning(
            "bots.left_sick",
            publication_id=publication_id,
            wave=wave,
            bots=len(stay),
            bot_ids=stay[:NAMED],
            reason="V1 or the live version was edited since, or V1 does not run",
        )
    busy = sum(one.state == "busy" for one in returned)
    return busy + len(verdict.quarantined) - len(sick)


# -- what follows ------------------------------------------------------------------------------------


def _watch(_: sa.Connection, looked: Looked, verdict: Verdict) -> Decided:
    return Decided(f"wave {looked.wave.number}: {verdict.sentence}")


def _go_on(connection: sa.Connection, looked: Looked, verdict: Verdict) -> Decided:
    publication_id, wave = looked.place
    state: WaveState = "passed" if verdict.outcome == "passed" else "inconclusive"
    _end_wave(connection, looked, state, verdict)
    if state == "inconclusive":
        values = {"accepted_by": looked.actor, "accepted_reason": OBSERVED}
        moves.move_wave(connection, publication_id, wave, "accepted", **values)
    said = f"wave {wave} {_WORDS[state]}: {verdict.sentence}"
    if moves.confirm_bots(connection, publication_id, wave) is not None:
        return Decided(f"{said}; its bots are being confirmed", ended=state)
    going = begin_next(connection, publication_id, looked.actor, health=looked.health)
    said = f"{said}; publication {publication_id} {going.said}"
    return Decided(said, run_id=going.run_id, ended=state)


def _hold(connection: sa.Connection, looked: Looked, verdict: Verdict) -> Decided:
    publication, because = looked.publication, _BECAUSE[verdict.outcome]
    publication_id, wave = looked.place
    why = f"wave {wave} {_WORDS[because]}: {verdict.sentence}"
    if because == "alarm" and publication.held_because == because:
        moves.wait(connection, publication_id, why)
        return Decided(f"is held: {why}")
    ended = _ENDED.get(because)
    if ended is not None:
        _end_wave(connection, looked, ended, verdict)
    moves.hold(
        connection,
        publication_id,
        held_from=publication.held_from or publication.state,
        because=because,
        reason=why,
    )
    move_runs(connection, publication_id, "paused", why, looked.actor)
    detail = {"wave": wave, "because": because}
    note(connection, publication_id, "held", looked.actor, verdict.sentence, **detail)
    return Decided(f"held: {why}", ended=ended, held=because)


def _roll_back(connection: sa.Connection, looked: Looked, verdict: Verdict) -> Decided:
    """Stop the publication for the rollback, which follows after this commit: see `tick`."""
    publication_id, wave = looked.place
    _end_wave(connection, looked, "failed", verdict)
    if looked.publication.held_because == "alarm":
        moves.hold_because(connection, publication_id, "failed")
    rolling.begin(connection, publication_id, because="failed")
    moves.note_gate_wave(connection, publication_id, wave)
    why = f"wave {wave} failed: {verdict.sentence}"
    move_runs(connection, publication_id, "cancelled", why, looked.actor)
    return Decided(f"{why}; it is taken back", take_back=wave, ended="failed")


def _end_wave(
    connection: sa.Connection, looked: Looked, state: WaveState, verdict: Verdict
) -> None:
    publication_id, wave = looked.place
    moves.move_wave(connection, publication_id, wave, state, decided_at=sa.func.now())
    note(connection, publication_id, f"wave_{state}", looked.actor, verdict.sentence, wave=wave)


_ACTIONS: Final[Mapping[Action, Callable[[sa.Connection, Looked, Verdict], Decided]]] = {
    "watch": _watch,
    "go_on": _go_on,
    "hold": _hold,
    "roll_back": _roll_back,
}
_BECAUSE: Final[Mapping[Outcome, HeldBecause]] = {
    "alarmed": "alarm",
    "failed": "failed",
    "disturbed": "disturbed",
    "inconclusive": "inconclusive",
}
_ENDED: Final[Mapping[HeldBecause, WaveState]] = {
    "failed": "failed",
    "inconclusive": "inconclusive",
}
_WORDS: Final[Mapping[str, str]] = {
    "passed": "passed",
    "alarm": "alarmed",
    "failed": "failed",
    "disturbed": "is disturbed",
    "inconclusive": "is inconclusive",
}
