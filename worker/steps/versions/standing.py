"""How a bot stands: its versions, its part in publications, and what answers its users now."""

from __future__ import annotations

import msgspec
import sqlalchemy as sa

from worker.core.publication.answering import Answering, answering
from worker.core.publication.live import draft_of, live_version
from worker.db import versions
from worker.db.publication import of_bot
from worker.db.publication.of_bot import Part, Proof, TakenBack
from worker.db.versions import Version


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """What is live, and what publications say of the bot; `live` is None if no version answers."""

    versions: tuple[Version, ...]
    parts: tuple[Part, ...]
    live: Version | None
    answers: Answering
    proof: Proof | None
    taken_back: TakenBack | None

    def made_by(self, version: Version) -> Part | None:
        """The part in the publication that made a version; None if none did."""
        return next((one for one in self.parts if one.version_id == version.version_id), None)


def read_standing(
    connection: sa.Connection, bot_id: str, *, uses_v2: bool, serves_drafts: bool
) -> Standing:
    """How a bot stands now; locks nothing."""
    found = tuple(versions.of_bot(connection, bot_id))
    parts = tuple(of_bot.parts(connection, bot_id))
    draft = draft_of(found)
    serves_drafts = serves_drafts and draft is not None and draft.nodes > 0
    return Standing(
        versions=found,
        parts=parts,
        live=live_version(found, uses_v2=uses_v2, serves_drafts=serves_drafts),
        answers=answering(
            found,
            parts,
            uses_v2=uses_v2,
            has_v1=versions.has_v1(connection, bot_id),
            serves_drafts=serves_drafts,
        ),
        proof=of_bot.proof(connection, bot_id),
        taken_back=of_bot.taken_back(connection, parts),
    )
