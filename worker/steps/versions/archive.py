"""Archive a version of a bot."""

from __future__ import annotations

import sqlalchemy as sa

from worker.core.codes import quote
from worker.core.publication.live import live_version
from worker.db import audit, versions
from worker.db.engine import map_database_errors
from worker.errors import UsageError
from worker.log import get_logger
from worker.steps.versions import bot
from worker.steps.versions.bot import not_stored

log = get_logger(__name__)


def archive_version(
    engine: sa.Engine, bot_id: str, name: str, *, actor: str, reason: str | None = None
) -> bool:
    """Archive a version that is neither live nor the draft; False if it was archived already.

    Raises:
        UsageError: there is no such bot or version, or it is live or the draft.
        TransientError: the database was unavailable, or another session keeps the bot locked.
    """
    with map_database_errors(), engine.begin() as connection:
        found = bot.read(connection, bot_id, lock=True)
        version = found.version(name)
        if version.status == "draft":
            raise UsageError(f"{quote(name)} of bot {quote(bot_id)} is its draft: it stays one")
        if version == live_version(found.versions, uses_v2=found.uses_v2, serves_drafts=False):
            raise UsageError(
                f"{quote(name)} of bot {quote(bot_id)} is live: users would get no answer. Publish"
                " another version or roll back first"
            )
        if version.status == "archived":
            return False
        if not versions.archive(connection, version.version_id):
            raise not_stored(bot_id, f"version {quote(name)}")
        detail = {"bot_id": bot_id, "version": name, "before": version.status}
        audit.record(connection, None, actor, "version.archived", reason, detail)
    log.info("version.archived", actor=actor, bot_id=bot_id, version=name)
    return True
