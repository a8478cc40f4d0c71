"""The bots of a publication, one by one: in which wave each is, and what became of it."""

from __future__ import annotations

from typing import cast

import msgspec
import sqlalchemy as sa

from worker.core.publication.states import BotState
from worker.db.publication.tables import publication_bots


class Member(msgspec.Struct, frozen=True, gc=False):
    """A bot of a publication."""

    bot_id: str
    wave: int
    state: BotState


def members(connection: sa.Connection, publication_id: int) -> list[Member]:
    """Every bot of a publication, wave by wave, in the order of their ids."""
    b = publication_bots.c
    query = sa.select(b.bot_id, b.wave, b.state).where(b.publication_id == publication_id)
    rows = connection.execute(query.order_by(b.wave, b.bot_id))
    return [Member(row[0], row[1], cast("BotState", row[2])) for row in rows]
