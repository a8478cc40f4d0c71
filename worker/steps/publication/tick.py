"""A tick of the gate: every publication that moves goes one step on, if there is one to go.

    settle ─► its run ─► look ─► judge ─► wave passed, failed, held … ─► the next wave
                                 └──────────── one transaction ─────────────────┘

One tick at a time for each publication, however many beats there are. What a tick leaves undone,
because its worker died or the database was away, the next one does.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Final

import msgspec
import sqlalchemy as sa

from worker.core.counted import counted
from worker.core.policy.health import Verdict as Health
from worker.core.publication.evidence import Reading
from worker.db.engine import map_database_errors
from worker.db.publication import moves, rolling, turns, waves
from worker.db.publication.locks import lock_state
from worker.db.publication.rollback import Back
from worker.db.publication.waves import Publication, Wave
from worker.errors import StaleError, TransientError
from worker.log import get_logger
from worker.queue.dispatch import Queue
from worker.runtime import Runtime
from worker.steps.enqueue import top_up
from worker.steps.publication.begin import begin_next
from worker.steps.publication.decide import Decided, Looked, decide
from worker.steps.publication.follow_run import follow_run
from worker.steps.publication.settle import settle_locked
from worker.steps.publication.state import need, note, wave_in
from worker.steps.publication.take_back import take_back_rest, take_back_wave

log = get_logger(__name__)

Look = Callable[[Runtime, int, int], Reading]
"""What is known of a wave of a publication now."""

ACTOR: Final = "gate"

REST_AT_ONCE: Final = 500
"""Bots that were locked, and that one transaction takes back afterwards."""


class Ticked(msgspec.Struct, frozen=True):
    """What a tick did with a publication, in words."""

    publication_id: int
    said: str


def tick(
    current: Runtime,
    queue: Queue,
    look: Look,
    check: Callable[[], Health],
    *,
    actor: str = ACTOR,
    fresh_s: float = 0.0,
) -> list[Ticked]:
    """Take every publication that is not over one step on; returns what became of each.

    `check` are the health checks that a batch passes. What was looked at within `fresh_s` is left
    alone: of messages that piled up while no worker ran, one does something. A publication that
    another tick has is left to it, and an error with one does not keep the others from moving. Safe
    to repeat.

    Raises:
        TransientError: the database was unavailable.
    """
    with map_database_errors(), current.engine.connect() as connection:
        found = turns.open_publications(connection, fresh_s=fresh_s)
    return [
        Ticked(publication_id, said)
        for publication_id in found
        if (said := _guarded(current, queue, publication_id, look, check, actor)) is not None
    ]


def said_of(done: Sequence[Ticked]) -> str:
    """What a tick did, in one line.

    >>> said_of([Ticked(3, "wave 1: no alarm yet"), Ticked(4, "is held")])
    'publication 3: wave 1: no alarm yet; publication 4: is held'
    >>> said_of([])
    'no publication moves'
    """
    said = "; ".join(f"publication {one.publication_id}: {one.said}" for one in done)
    return said or "no publication moves"


def _guarded(
    current: Runtime,
    queue: Queue,
    publication_id: int,
    look: Look,
    check: Callable[[], Health],
    actor: str,
) -> str | None:
    try:
        with map_database_errors(), turns.turn(current.engine, publication_id) as is_ours:
            if not is_ours:
                return None
            decided = _step(current, publication_id, look, check, actor)
            if decided.take_back is not None:
                decided = _take_back(current, publication_id, decided.take_back, actor)
    except StaleError as error:
        log.info("task.stale", publication_id=publication_id, reason=str(error))
        return str(error)
    except TransientError as error:
        log.warning("tick.postponed", publication_id=publication_id, error=str(error))
        return f"the next tick does it: {error}"
    except Exception as error:
        # Of this publication nothing is known now: `looked_at` stays, and `publication` warns of it.
        log.exception("tick.failed", publication_id=publication_id)
        return f"the gate could not look: {type(error).__name__}: {error}"
    if decided.run_id is not None:
        top_up(current.engine, queue, decided.run_id, window=current.settings.batch_window)
    return decided.said


def _step(
    current: Runtime,
    publication_id: int,
    look: Look,
    check: Callable[[], Health],
    actor: str,
) -> Decided:
    said, wave_to_take_back = _prepare(current.engine, publication_id, actor)
    if wave_to_take_back is not None:
        return Decided("the gate goes on taking back its wave", take_back=wave_to_take_back)
    if (rest := _take_back_rest(current.engine, publication_id, actor)) is not None:
        return Decided(rest)
    _confirm(current.engine, publication_id)
    publication, its = _read(current.engine, publication_id)
    judged = wave_in(its, "publishing", "watching")
    if not _is_looked_at(publication):
        return Decided(said or f"is {_words(publication)}")
    if judged is None and publication.state == "held":
        return Decided(said or f"is {_words(publication)}")
    if judged is None:
        return _begin_next(current.engine, publication_id, check(), actor)
    reading = look(current, publication_id, judged.number)
    looked = Looked(
        publication=publication, wave=judged, reading=reading, health=check(), actor=actor
    )
    decided = decide(current, looked)
    return msgspec.structs.replace(decided, said=f"{said}; {decided.said}") if said else decided


def _prepare(engine: sa.Engine, publication_id: int, actor: str) -> tuple[str | None, int | None]:
    """Settle what is out, and follow the run; also the wave that the gate was taking back."""
    with map_database_errors(), engine.begin() as connection:
        lock_state(connection, publication_id, alone=True)
        settle_locked(connection, publication_id)
        said = follow_run(connection, publication_id, actor)
        return said, moves.gate_wave(connection, publication_id)


def _confirm(engine: sa.Engine, publication_id: int) -> None:
    """Confirm what is left of waves that passed or were accepted: a page a transaction."""
    with map_database_errors(), engine.connect() as connection:
        left = moves.unconfirmed_waves(connection, publication_id)
    for wave in left:
        after: str | None = ""
        while after is not None:
            with map_database_errors(), engine.begin() as connection:
                after = moves.confirm_bots(connection, publication_id, wave, after=after or None)


def _read(engine: sa.Engine, publication_id: int) -> tuple[Publication, list[Wave]]:
    with map_database_errors(), engine.connect() as connection:
        return need(connection, publication_id), waves.of(connection, publication_id)


def _is_looked_at(publication: Publication) -> bool:
    """Whether the gate looks at it; one that a person has to decide on waits for that person."""
    if publication.state == "held":
        return publication.held_because in ("alarm", "health")
    return publication.state in ("planned", "publishing", "watching")


def _words(publication: Publication) -> str:
    why = f": {publication.state_reason}" if publication.state_reason else ""
    return f"{publication.state.replace('_', ' ')}{why}"


def _begin_next(engine: sa.Engine, publication_id: int, health: Health, actor: str) -> Decided:
    """The next wave, which had to wait when the one before it passed."""
    with map_database_errors(), engine.begin() as connection:
        lock_state(connection, publication_id, alone=True)
        its = waves.of(connection, publication_id)
        found = need(connection, publication_id)
        if found.state not in ("planned", "watching") or wave_in(its, "publishing", "watching"):
            raise StaleError(f"publication {publication_id} has moved: the next tick looks again")
        moves.note_look(connection, publication_id)
        going = begin_next(connection, publication_id, actor, health=health)
    return Decided(going.said, run_id=going.run_id)


# -- taking a wave back ------------------------------------------------------------------------------


def _take_back(current: Runtime, publication_id: int, wave: int, actor: str) -> Decided:
    """Take back the wave that failed; the publication is held afterwards, whatever could be done."""
    with map_database_errors(), current.engine.connect() as connection:
        sentence = next(
            (w.sentence for w in waves.of(connection, publication_id) if w.number == wave), None
        )
    why = f"wave {wave} failed: {sentence}"
    back = take_back_wave(current, publication_id, wave, actor=actor, reason=why)
    if not back.did and back.preview.loses_nothing:
        return Decided(f"the next tick takes wave {wave} back: {back.said}")
    said = f"{why}; {back.said}"
    is_back = _end(current.engine, publication_id, wave, said, actor, goes_on=back.left > 0)
    if is_back:
        log.warning("wave.taken_back", publication_id=publication_id, wave=wave, reason=back.said)
    elif back.left:
        log.warning("wave.locked", publication_id=publication_id, wave=wave, bots=back.left)
    else:
        log.error("wave.left_out", publication_id=publication_id, wave=wave, reason=back.said)
    return Decided(said)


def _take_back_rest(engine: sa.Engine, publication_id: int, actor: str) -> str | None:
    """Take back what was locked when a wave was taken back; None if nothing of one is left."""
    with map_database_errors(), engine.connect() as connection:
        wave = moves.wave_left(connection, publication_id)
        if wave is None:
            return None
        left = waves.live_bots(connection, publication_id, wave)
    found: Counter[Back] = Counter()
    for start in range(0, len(left), REST_AT_ONCE):
        page = left[start : start + REST_AT_ONCE]
        found += _take_back_page(engine, publication_id, wave, page)
    if found["busy"]:
        locked = counted(found["busy"], "bot")
        return f"wave {wave} failed: {locked} of it still locked by another session"
    return _end_rest(engine, publication_id, wave, found, actor)


def _take_back_page(
    engine: sa.Engine, publication_id: int, wave: int, bot_ids: Sequence[str]
) -> Counter[Back]:
    with map_database_errors(), engine.begin() as connection:
        lock_state(connection, publication_id, alone=True)
        if moves.wave_left(connection, publication_id) != wave:
            raise StaleError(f"a person has moved publication {publication_id}: its wave stays")
        why = f"wave {wave} failed"
        found = take_back_rest(connection, publication_id, wave, bot_ids, reason=why)
    return Counter(one.state for one in found)


def _end_rest(
    engine: sa.Engine, publication_id: int, wave: int, found: Mapping[Back, int], actor: str
) -> str:
    """Nothing of the wave is locked any more: what is live of it is left to a person."""
    which = rolling.Which(publication_id=publication_id, wave=wave)
    said = _rest_said(publication_id, wave, found)
    with map_database_errors(), engine.begin() as connection:
        lock_state(connection, publication_id, alone=True)
        if moves.wave_left(connection, publication_id) != wave:
            raise StaleError(f"a person has moved publication {publication_id}")
        moves.forget_gate_wave(connection, publication_id)
        state = rolling.end(connection, publication_id, which, said)
        if state is None:
            moves.wait(connection, publication_id, said)
        note(connection, publication_id, state or "held", actor, said, wave=wave)
    if found["no_way_back"]:
        log.error("wave.left_out", publication_id=publication_id, wave=wave, reason=said)
    return said


def _rest_said(publication_id: int, wave: int, found: Mapping[Back, int]) -> str:
    if not found["no_way_back"]:
        return f"wave {wave} failed; every bot of it is back on V1"
    stay = counted(found["no_way_back"], "bot of it stays", "bots of it stay")
    return (
        f"wave {wave} failed; {stay} on V2, since V1 or the version was edited, or V1 does not run:"
        f" flowshift rollback --publication {publication_id} --wave {wave}"
    )


def _end(
    engine: sa.Engine, publication_id: int, wave: int, reason: str, actor: str, *, goes_on: bool
) -> bool:
    """End `rolling_back` where the rollback has not; says whether none of the wave is live any more.

    It has not where nothing was live, or where nothing may go back. With `goes_on` the next ticks take
    back what was locked.
    """
    which = rolling.Which(publication_id=publication_id, wave=wave)
    with map_database_errors(), engine.begin() as connection:
        rolling.lock(connection, [publication_id])
        if goes_on:
            moves.wait(connection, publication_id, reason)
        else:
            moves.forget_gate_wave(connection, publication_id)
        if need(connection, publication_id).state == "rolling_back":
            state = rolling.end(connection, publication_id, which, reason)
            note(connection, publication_id, state or "held", actor, reason, wave=wave)
        return not waves.any_live(connection, publication_id, wave)
