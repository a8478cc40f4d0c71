"""Archive a version of a bot: one that answers nowhere, and that nothing still needs."""

from __future__ import annotations

import shlex

import msgspec
import sqlalchemy as sa

from worker.core.codes import quote
from worker.core.publication.live import live_version, newest_published
from worker.db import audit, versions
from worker.db.engine import map_database_errors
from worker.db.publication import of_bot
from worker.db.versions import Version
from worker.errors import ConflictError
from worker.log import get_logger
from worker.steps.versions import bot
from worker.steps.versions.bot import Bot, need_update, not_stored

log = get_logger(__name__)


class Archived(msgspec.Struct, frozen=True):
    """What became of a version: whether it `changed`, or was archived before.

    `superseded_in` are the publications that counted it as live, though a later version is.
    """

    bot_id: str
    version: str
    changed: bool
    superseded_in: tuple[int, ...] = ()


def archive_version(
    engine: sa.Engine, bot_id: str, name: str, *, actor: str, reason: str | None = None
) -> Archived:
    """Archive a version that is neither live nor the draft. Repeated, it changes nothing.

    A publication that counts the version as live, though a later one is, notes that it is superseded:
    in the same transaction, so that its rollback and its gate leave the bot alone.

    Raises:
        UsageError: there is no such bot or version, it is live, the draft, or the only published one.
        ConfigError: the role may not update a version's status.
        TransientError: the database was unavailable, or another session keeps the bot locked.
    """
    with map_database_errors(), engine.begin() as connection:
        found = bot.read(connection, bot_id, lock=True)
        version = found.version(name)
        if version.status == "archived":
            return Archived(bot_id, name, changed=False)
        if version.status == "draft":
            raise ConflictError(f"{quote(name)} of bot {quote(bot_id)} is its draft: it stays one")
        need_update(connection, "status", "updated_at")
        _need_unused(connection, found, version)
        if not versions.archive(connection, version.version_id):
            raise not_stored(bot_id, f"version {quote(name)}")
        superseded = of_bot.supersede(connection, bot_id, version.version_id)
        detail = {
            "bot_id": bot_id,
            "version": name,
            "before": version.status,
            "superseded_in": superseded,
        }
        audit.record(connection, None, actor, "version.archived", reason, detail)
    log.info("version.archived", actor=actor, bot_id=bot_id, version=name, superseded_in=superseded)
    return Archived(bot_id, name, changed=True, superseded_in=tuple(superseded))


def _need_unused(connection: sa.Connection, found: Bot, version: Version) -> None:
    """Refuse to archive what answers, what a publication is to take back, or the last published one."""
    of = f"{quote(version.version)} of bot {quote(found.bot_id)}"
    newest = newest_published(found.versions)
    part = next(
        (
            one
            for one in of_bot.parts(connection, found.bot_id)
            if one.is_live and one.version_id == version.version_id
        ),
        None,
    )
    rollback = f"`flowshift rollback --bot-id {shlex.quote(found.bot_id)}`"
    if version == live_version(found.versions, uses_v2=found.uses_v2, serves_drafts=False):
        instead = (
            f"to go back to V1: {rollback}"
            if part is not None
            else "publish another version, or let V1 answer again, first"
        )
        raise ConflictError(
            f"{of} is live: users would get no answer. Nothing was changed; {instead}"
        )
    if part is not None and version == newest:
        raise ConflictError(
            f"{of} is live for publication {part.publication_id}, though use_workflow_v2 is false: it was"
            f" set outside flowshift. Nothing was changed; let the records say that V1 answers: {rollback}"
        )
    if version == newest and sum(one.status == "published" for one in found.versions) == 1:
        raise ConflictError(
            f"{of} is its only published version: the platform counts from published versions, would"
            " give the next one a number that is taken, and fail. Nothing was changed; leave it: it"
            " answers nobody while use_workflow_v2 is false"
        )
