"""List the versions of a bot."""

from __future__ import annotations

import msgspec
import sqlalchemy as sa

from worker.core.publication.live import live_version
from worker.core.targets.detect import AUTO
from worker.core.targets.registry import TARGETS
from worker.db.engine import map_database_errors
from worker.db.versions import Version
from worker.steps.target import choose_target
from worker.steps.versions import bot


class Listed(msgspec.Struct, frozen=True):
    """A bot's versions, and which of them answers now: None if V1 answers, or nothing does."""

    bot_id: str
    uses_v2: bool
    versions: tuple[Version, ...]
    live: Version | None


def list_versions(engine: sa.Engine, bot_id: str, *, setting: str = AUTO) -> Listed:
    """All versions of a bot. Locks nothing.

    Raises:
        UsageError: there is no such bot, or several rows have its id.
        TransientError: the database was unavailable.
    """
    with map_database_errors(), engine.connect() as connection:
        found = bot.read(connection, bot_id)
        target = TARGETS[choose_target(connection, None, setting).target]
    live = live_version(found.versions, uses_v2=found.uses_v2, serves_drafts=target.serves_drafts)
    return Listed(found.bot_id, found.uses_v2, found.versions, live)
