"""A bot with its versions, as a command reads or locks it."""

from __future__ import annotations

import msgspec
import sqlalchemy as sa

from worker.core.codes import quote
from worker.core.publication.live import draft_of, newest_published
from worker.db import versions
from worker.db.engine import SETTING
from worker.db.versions import Version
from worker.errors import BotError, ConfigError, ConflictError, NotFoundError, UsageError
from worker.steps import find


class Bot(msgspec.Struct, frozen=True):
    """A bot: whether it is flagged V2, and all its versions."""

    bot_id: str
    uses_v2: bool
    versions: tuple[Version, ...]

    @property
    def draft(self) -> Version | None:
        """Its draft."""
        return draft_of(self.versions)

    def version(self, name: str) -> Version:
        """The version of that name.

        Raises:
            NotFoundError: there is none.
            UsageError: the platform has several.
        """
        found = [one for one in self.versions if one.version == name]
        if len(found) != 1:
            what = "no version" if not found else f"{len(found):,} versions called"
            raise (UsageError if found else NotFoundError)(
                f"bot {quote(self.bot_id)} has {what} {quote(name)}:"
                " `flowshift versions` lists them"
            )
        return found[0]


def read(connection: sa.Connection, bot_id: str, *, lock: bool = False) -> Bot:
    """A bot as it is committed; with `lock` it and its versions stay so until the transaction ends.

    Raises:
        UsageError: there is no such bot, or several rows have its id.
    """
    uses_v2 = flag(connection, bot_id, lock=lock)
    if lock:
        versions.lock(connection, bot_id)
    return Bot(bot_id, uses_v2, tuple(versions.of_bot(connection, bot_id)))


def flag(connection: sa.Connection, bot_id: str, *, lock: bool = False) -> bool:
    """Whether a bot is flagged V2; with `lock` its row stays so until the transaction ends.

    Raises:
        UsageError: there is no such bot, or several rows have its id.
    """
    flags = versions.flags(connection, bot_id, lock=lock)
    if not flags:
        find.bot(connection, bot_id)
        raise UsageError(f"bot {quote(bot_id)} has just been created: try again")
    if len(flags) > 1:
        raise UsageError(
            f"{len(flags):,} rows of bots have the id {quote(bot_id)}: remove all but one"
        )
    return flags[0]


def need_draft_not_live(bot: Bot, *, live_drafts: bool) -> None:
    """Refuse to write a draft that the platform may serve, unless `live_drafts` allows it.

    Raises:
        UsageError: the bot is flagged V2 and has no published version.
    """
    if bot.uses_v2 and newest_published(bot.versions) is None and not live_drafts:
        raise ConflictError(
            f"draft_would_go_live: bot {quote(bot.bot_id)} is flagged V2 and has no published version,"
            " so the platform may serve its draft; --live-drafts writes it anyway"
        )


def not_stored(bot_id: str, what: str) -> BotError:
    """The error for a row that the database did not store as it was written."""
    return BotError(
        "internal_error",
        f"{what} of {quote(bot_id)} was not stored as written: does a trigger, rule or policy on"
        " bot_workflow_versions change it? Nothing was changed",
    )


def need_update(connection: sa.Connection, *columns: str) -> None:
    """Refuse, before anything is written, what the role may not write of a version.

    Raises:
        ConfigError: the role lacks the right on one of these columns; it says which role has it.
    """
    denied = versions.denied_columns(connection, columns)
    if denied is not None:
        role, names = denied
        raise ConfigError(
            f"the role {role} has no right to UPDATE {names} of bot_workflow_versions. Nothing was"
            " changed; connect as flowshift_publisher, to which the SQL of `flowshift db role` gives it,"
            " or as the tables' owner",
            setting=SETTING,
        )
