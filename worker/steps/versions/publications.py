"""What a publication makes of a draft that a person has just written: said at once, not at night."""

from __future__ import annotations

import shlex
import uuid

import sqlalchemy as sa

from worker.core.codes import quote
from worker.core.publication.states import OVER
from worker.db.publication import of_bot


def note_on_draft(
    connection: sa.Connection, bot_id: str, version_id: uuid.UUID | None = None
) -> str | None:
    """What to know of a bot whose draft was just written, from a version of it or by hand; else None.

    A publication that has not reached the bot yet publishes proven content alone; and what was taken
    back once would go out again as it was.
    """
    parts = of_bot.parts(connection, bot_id)
    said = [
        f"publication {one.publication_id} took {quote(one.version or '')} back"
        f" ({one.state.replace('_', ' ')}): the draft is the same again"
        for one in parts
        if version_id is not None and one.version_id == version_id and one.is_taken_back
    ]
    said += [
        f"publication {one.publication_id}, wave {one.wave}, has not reached this bot: it skips a draft"
        f" that is not proven; prove it: flowshift validate --bot-id {shlex.quote(bot_id)}"
        for one in parts
        if one.state == "pending" and one.publication_state not in OVER
    ]
    return "; ".join(said) or None
