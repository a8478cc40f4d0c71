"""Let a version of a bot become its draft again."""

from __future__ import annotations

from typing import Final

import msgspec
import sqlalchemy as sa

from worker.core.codes import quote
from worker.core.publication.versions import next_version
from worker.db import audit, versions
from worker.db.engine import map_database_errors
from worker.db.versions import Version
from worker.errors import ConflictError, TransientError, UsageError
from worker.log import get_logger
from worker.steps.versions import bot
from worker.steps.versions.bot import Bot, need_draft_not_live, need_update, not_stored
from worker.steps.versions.publications import note_on_draft

log = get_logger(__name__)

_DRAFT: Final = "draft"
_VARIABLES: Final = ("environment_variables", "conversation_variables")


class Restored(msgspec.Struct, frozen=True):
    """What became of the draft: whether it `changed`, and the version that keeps what it held.

    `note` says what a publication makes of it, None if nothing.
    """

    bot_id: str
    version: str
    changed: bool
    kept: str | None = None
    note: str | None = None


def restore_version(
    engine: sa.Engine,
    bot_id: str,
    name: str,
    *,
    actor: str,
    reason: str | None = None,
    live_drafts: bool = False,
) -> Restored:
    """Copy a version's graph and variables into the draft; the version stays as it is.

    A draft that a person made is first kept as an archived version, numbered after the highest. Not
    so one that a run wrote, one without a node, or one that another version holds. Repeated, it
    changes nothing.

    Raises:
        UsageError: there is no such bot or version, it is the draft, or the draft may be live.
        ConfigError: the variables differ, and the role may not write them.
        TransientError: the database was unavailable, or another session keeps the bot locked.
    """
    with map_database_errors(), engine.begin() as connection:
        found = bot.read(connection, bot_id, lock=True)
        version = found.version(name)
        if version.status == _DRAFT:
            raise ConflictError(f"{quote(name)} of bot {quote(bot_id)} is its draft already")
        need_draft_not_live(found, live_drafts=live_drafts)
        restored = _restore(connection, found, version)
        if restored.changed:
            detail = {"bot_id": bot_id, "version": name, "kept": restored.kept}
            audit.record(connection, None, actor, "draft.restored", reason, detail)
            note = note_on_draft(connection, bot_id, version.version_id)
            restored = msgspec.structs.replace(restored, note=note)
    if restored.changed:
        log.info("draft.restored", actor=actor, bot_id=bot_id, version=name, kept=restored.kept)
    return restored


def _restore(connection: sa.Connection, found: Bot, version: Version) -> Restored:
    bot_id, name = found.bot_id, version.version
    if found.draft is None:
        if not versions.copy(connection, version.version_id, _DRAFT, _DRAFT):
            raise TransientError(
                f"bot {quote(bot_id)} got no draft: another session made one, another version is called"
                " draft, or a trigger changes it. Nothing was changed: look with `flowshift versions`"
            )
        return Restored(bot_id, name, changed=True)
    differ = versions.differ(connection, found.draft.version_id, version.version_id)
    if not (differ.graph or differ.variables):
        return Restored(bot_id, name, changed=False)
    need_update(connection, "graph", "updated_at", *(_VARIABLES if differ.variables else ()))
    kept = None
    if not versions.is_kept(connection, found.draft.version_id):
        kept = _keep(connection, found, found.draft)
    if not versions.restore(
        connection, found.draft.version_id, version.version_id, with_variables=differ.variables
    ):
        raise not_stored(bot_id, "the draft")
    return Restored(bot_id, name, changed=True, kept=kept)


def _keep(connection: sa.Connection, found: Bot, draft: Version) -> str:
    try:
        kept = next_version(one.version for one in found.versions)
    except ValueError as error:
        raise UsageError(f"the draft of {quote(found.bot_id)} cannot be kept: {error}") from None
    if not versions.copy(connection, draft.version_id, kept, "archived"):
        raise TransientError(
            f"the draft of {quote(found.bot_id)} could not be kept as {kept}: another session made that"
            " version, or a trigger changes it. Nothing was changed: try again"
        )
    return kept
