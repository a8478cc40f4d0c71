"""List the versions of a bot."""

from __future__ import annotations

import msgspec
import sqlalchemy as sa

from worker.core.targets.detect import AUTO
from worker.core.targets.registry import TARGETS
from worker.db.engine import map_database_errors
from worker.steps.target import choose_target
from worker.steps.versions import bot
from worker.steps.versions.standing import Standing, read_standing


class Listed(msgspec.Struct, frozen=True):
    """A bot's versions, and what answers now."""

    bot_id: str
    uses_v2: bool
    standing: Standing


def list_versions(engine: sa.Engine, bot_id: str, *, setting: str = AUTO) -> Listed:
    """All versions of a bot. Locks nothing.

    Raises:
        UsageError: there is no such bot, or several rows have its id.
        TransientError: the database was unavailable.
    """
    with map_database_errors(), engine.connect() as connection:
        uses_v2 = bot.flag(connection, bot_id)
        target = TARGETS[choose_target(connection, None, setting).target]
        standing = read_standing(
            connection, bot_id, uses_v2=uses_v2, serves_drafts=target.serves_drafts
        )
    return Listed(bot_id, uses_v2, standing)
