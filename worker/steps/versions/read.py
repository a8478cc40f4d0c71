"""Read one version of a bot, whole."""

from __future__ import annotations

import uuid

import msgspec
import sqlalchemy as sa

from worker.core.codes import quote
from worker.db import drafts, versions
from worker.db.engine import map_database_errors
from worker.db.versions import Version
from worker.errors import NotFoundError, UsageError
from worker.steps.versions import bot
from worker.steps.versions.bot import Bot


class Whole(msgspec.Struct, frozen=True, kw_only=True):
    """A version, with its graph and its variables as JSON."""

    version: Version
    graph: bytes
    environment_variables: bytes
    conversation_variables: bytes


def read_version(engine: sa.Engine, bot_id: str, which: str) -> Whole:
    """The version of a bot that has that id or that name. Locks nothing.

    Raises:
        NotFoundError: there is no such bot or version.
        UsageError: several versions have that name, or it is too large.
        TransientError: the database was unavailable.
    """
    with map_database_errors(), engine.connect() as connection:
        version = find_version(bot.read(connection, bot_id), which)
        found = versions.whole(connection, version.version_id)
    if found is None:
        raise NotFoundError(f"{quote(which)} of bot {quote(bot_id)} was just deleted")
    if found.graph is None:
        raise UsageError(
            f"{quote(which)} of {quote(bot_id)} has over {drafts.MAX_GRAPH_BYTES:,} bytes of JSON"
        )
    return Whole(
        version=version,
        graph=found.graph,
        environment_variables=found.environment_variables,
        conversation_variables=found.conversation_variables,
    )


def find_version(found: Bot, which: str) -> Version:
    """The version of a bot that has that id, else that name.

    Raises:
        NotFoundError: there is none.
        UsageError: there are several of that name.
    """
    try:
        wanted = uuid.UUID(which)
    except ValueError:
        return found.version(which)
    by_id = [one for one in found.versions if one.version_id == wanted]
    return by_id[0] if by_id else found.version(which)
