"""What the gate takes back by itself: one wave, or the single bots of it that are sick.

Only where nothing is lost: no edit goes live that was not live before, and none stops being live.
Whatever else there is to take back, a person does (`flowshift rollback`).
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Final

import msgspec
import sqlalchemy as sa

from worker.core.counted import counted
from worker.core.metrics.rolled_back import rolled_back
from worker.core.publication.preview import Preview
from worker.db.measuring import totals
from worker.db.publication import previews
from worker.db.publication.rollback import Note, Part, Returned, roll_back_bots
from worker.db.publication.rolling import Which
from worker.errors import UsageError
from worker.log import get_logger
from worker.runtime import Runtime
from worker.steps.publication.rollback import look, roll_back
from worker.steps.publication.state import note

log = get_logger(__name__)

LONGEST_WAIT_S: Final = 20.0
"""So long rows that other sessions have locked are waited for."""

_NAMED: Final = 20
"""Bots named in a line of the audit trail."""


class TakenBack(msgspec.Struct, frozen=True):
    """What became of a wave that was to be taken back.

    `did` is false if nothing was changed, since an edit would be lost or a bot has no way back.
    `said` is a sentence for a person: what was done, or why not and what to do. `preview` is what a
    rollback would do, or would have done. `left` is how many bots other sessions had locked.
    """

    did: bool
    said: str
    preview: Preview
    left: int = 0


def take_back_wave(
    current: Runtime, publication_id: int, wave: int, *, actor: str, reason: str
) -> TakenBack:
    """Take back one wave of a publication if its preview loses nothing; else change nothing.

    Commits by itself: the caller must hold no `lock_state` of this publication, in any
    transaction. Afterwards the publication is `held` (`failed`) if anything of it stays out or
    pending, else `rolled_back`, and the wave is `rolled_back` if none of its bots is live. On
    repeat what is back stays back and the rest goes on; a wave that has nothing live is `did`.

    Raises:
        UsageError: there is no such publication or wave.
        TransientError: the database stayed unavailable; what is back stays back.
    """
    which = Which(publication_id=publication_id, wave=wave)
    seen = look(current, which)
    if seen.bots == 0:
        return TakenBack(True, f"wave {wave} has nothing live", seen.preview)
    if not seen.preview.loses_nothing:
        return TakenBack(False, _why_not(publication_id, wave, seen.preview), seen.preview)
    until = time.monotonic() + LONGEST_WAIT_S
    try:
        result = roll_back(
            current,
            which,
            digest=seen.preview.digest,
            actor=actor,
            reason=reason,
            show=lambda _: None,
            sleep=lambda seconds: _sleep(seconds, until),
            because="failed",
        )
    except UsageError as error:
        return TakenBack(False, str(error), seen.preview)
    back = result.bots.get("rolled_back", 0)
    left = result.left
    said = f"wave {wave} was taken back: V1 answers on {counted(back, 'bot')}"
    if left:
        said += (
            f"; {counted(left, 'bot')}: locked by another session, still on V2 until it is not."
            " The gate tries again at each look"
        )
    return TakenBack(True, said, seen.preview, left)


def take_back_rest(
    connection: sa.Connection,
    publication_id: int,
    wave: int,
    bot_ids: Sequence[str],
    *,
    reason: str,
) -> list[Returned]:
    """Give back bots that other sessions had locked when their wave was taken back.

    In the caller's transaction; none is waited for. Returns what happened to each that is live by the
    wave: `busy` ones are still locked, and `no_way_back` ones were edited since or have no V1: a
    person decides on them. The caller has the publication's state locked; at most some hundred bots.
    """
    found = _give_back(
        connection, publication_id, wave, bot_ids, note_as="rolled_back", reason=reason
    )
    back = sum(one.state == "rolled_back" for one in found)
    if back:
        log.info("wave.taken_back", publication_id=publication_id, wave=wave, reason=reason)
        note(connection, publication_id, "rolling_back", "gate", reason, wave=wave, bots=back)
    return found


def quarantine(
    connection: sa.Connection,
    publication_id: int,
    wave: int,
    bot_ids: Sequence[str],
    *,
    reason: str,
) -> list[Returned]:
    """Give single bots of a wave back to V1 as `quarantined`, in the caller's transaction.

    Returns what happened to each, by id: `rolled_back` (it is quarantined now), `superseded` (a
    version that this publication did not make is live), `busy` (locked by another session: name it
    again later), `no_way_back` (V1 or the live version was edited since, or V1 is gone: it stays
    live, and a person decides). Bots that are not live by this wave are left out, so that nothing
    changes on repeat. The wave's counters, each bot's row with `reason`, and the audit trail are
    written in the same transaction. Rows are locked until it ends: let it be short, at most some hundred
    bots. No state of the publication is changed or needed.
    """
    returned = _give_back(
        connection,
        publication_id,
        wave,
        bot_ids,
        note_as="quarantined",
        reason=reason,
    )
    back = [one.bot_id for one in returned if one.state == "rolled_back"]
    if back:
        note(
            connection,
            publication_id,
            "quarantined",
            "flowshift",
            reason,
            wave=wave,
            bots=len(back),
            bot_ids=back[:_NAMED],
        )
        log.info("bots.quarantined", publication_id=publication_id, wave=wave, bots=len(back))
    return returned


def _give_back(
    connection: sa.Connection,
    publication_id: int,
    wave: int,
    bot_ids: Sequence[str],
    *,
    note_as: Note,
    reason: str,
) -> list[Returned]:
    """Give those of these bots back of which nothing would be lost; by their ids."""
    found = previews.published(
        connection, publication_id, _edited, wave=wave, bot_ids=list(dict.fromkeys(bot_ids))
    )
    edited: list[str] = []
    asked: list[str] = []
    for one in found:
        (edited if one.version_edited else asked).append(one.bot_id)
    returned = roll_back_bots(
        connection,
        Part(publication_id=publication_id, wave=wave, bot_ids=asked),
        v1_problem=_edited,
        note_as=note_as,
        message=reason,
    )
    # What stays comes again at every look: only what is back is counted.
    back = [one.state for one in returned if one.state == "rolled_back"]
    totals.add(connection, rolled_back(back))
    stays = [Returned(bot_id, "no_way_back", wave) for bot_id in edited]
    return sorted([*returned, *stays], key=lambda one: one.bot_id)


def _edited(_: bytes) -> str:
    """V1 that is not the text that was published with the bot: only a person lets an edit go live."""
    return "it was edited since"


def _why_not(publication_id: int, wave: int, preview: Preview) -> str:
    found = [
        f"{counted(group.bots, 'bot')}: {what}"
        for group, what in (
            (preview.v1_edited, "an edit of V1 would go live"),
            (preview.version_edited, "an edit of the live version would stop being live"),
            (preview.no_way_back, "V1 is gone or does not run"),
        )
        if group.bots
    ]
    return (
        f"wave {wave} was not taken back: {'; '.join(found)}. Look at it with"
        f" flowshift rollback --publication {publication_id} --wave {wave}"
    )


def _sleep(seconds: float, until: float) -> None:
    if time.monotonic() + seconds > until:
        raise KeyboardInterrupt
    time.sleep(seconds)
