"""Accept a wave that the gate has not let pass."""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa

from worker.core.counted import counted
from worker.db.publication import moves, waves
from worker.db.publication.waves import Publication, Wave
from worker.errors import ConflictError, NotFoundError
from worker.log import get_logger
from worker.steps.publication.begin import Going, begin_next
from worker.steps.publication.state import note, wave_in

log = get_logger(__name__)

_WAS: Final = {
    "watching": "was watched",
    "failed": "failed",
    "inconclusive": "was inconclusive",
}


def gate_decides(publication_id: int, wave: Wave) -> str:
    """Why a wave that is watched is not passed over by `go`, and what accepts it."""
    return (
        f"publication {publication_id} is not held, nothing was changed. Wave {wave.number} is watched:"
        f" the gate decides; `flowshift accept {publication_id} {wave.number} --reason TEXT` accepts it now"
    )


def to_accept(found: Publication, its: list[Wave], number: int | None) -> Wave:
    """The wave of that number, or the one that waits for a person, if it is to be accepted now.

    Raises:
        UsageError: no wave of the publication can be accepted, or not this one, or one is watched and
            was not named.
    """
    waiting = wave_in(its, "watching", "inconclusive", "failed")
    one = waiting if number is None else next((w for w in its if w.number == number), None)
    name = f"publication {found.publication_id}"
    if found.state not in ("watching", "held"):
        raise ConflictError(f"{name} is {found.state}: no wave of it can be accepted now")
    if one is None:
        what = "no wave to accept" if number is None else f"no wave {number}"
        family = ConflictError if number is None else NotFoundError
        raise family(f"{name} has {what}: `flowshift publication {found.publication_id}`")
    if waiting is None or one.number != waiting.number:
        raise ConflictError(f"wave {one.number} is {one.state}: there is nothing to accept")
    if number is None and one.state == "watching":
        raise ConflictError(
            f"wave {one.number} of {name} is watched: the gate decides, nothing was changed. To accept it"
            f" now, name it: `flowshift accept {found.publication_id} {one.number} --reason TEXT`"
        )
    if one.pending:
        of = f"of wave {one.number}"
        left = counted(one.pending, f"bot {of} is", f"bots {of} are")
        raise ConflictError(
            f"{left} not out yet: `flowshift go"
            f" {found.publication_id} --reason TEXT` publishes them, and only executions since then count"
        )
    return one


def accept_wave(
    connection: sa.Connection,
    found: Publication,
    wave: Wave,
    actor: str,
    reason: str,
    *,
    goes_on: bool,
) -> Going:
    """A person accepts a wave: it is never judged again, its bots are confirmed, the next begins.

    The caller has the state locked. Without `goes_on` the publication stays held. What is said names
    the wave, what it was, and how many of its bots are live.
    """
    publication_id = found.publication_id
    moves.move_wave(
        connection,
        publication_id,
        wave.number,
        "accepted",
        accepted_by=actor,
        accepted_reason=reason,
        decided_at=sa.func.now(),
    )
    note(connection, publication_id, "accepted", actor, reason, wave=wave.number, was=wave.state)
    log.info("wave.accepted", publication_id=publication_id, wave=wave.number, was=wave.state)
    is_confirmed = moves.confirm_bots(connection, publication_id, wave.number) is None
    live = waves.count_live(connection, publication_id, wave.number).get(wave.number, 0)
    name = f"accepted wave {wave.number}, which {_WAS[wave.state]}: {counted(live, 'bot')}"
    if not goes_on:
        said = f"is still held: `flowshift go {publication_id}` lets it go on"
        return Going(publication_id, None, f"{name}. It {said}")
    if not is_confirmed:
        moves.move(connection, publication_id, "watching")
        said = "They are being confirmed, then the next wave begins"
        return Going(publication_id, None, f"{name}. {said}")
    going = begin_next(connection, publication_id, actor)
    return Going(publication_id, going.run_id, f"{name}. Publication {publication_id} {going.said}")
