"""Ask for a backup of the database that was taken and verified less than a day ago."""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa

from worker.core.backup.asks import asks_for_backup
from worker.core.codes import quote
from worker.core.counted import counted
from worker.db.database_backups import record
from worker.db.database_backups.record import Recorded
from worker.db.publication.waves import Publication, Wave
from worker.errors import UsageError

RECENT_HOURS: Final = 24

FOR_FIRST: Final = "`publish` with --without-backup"
"""How a publication is planned whose waves wait for no backup."""


def need_recent_backup(connection: sa.Connection, what: str, *, else_say: str = "") -> Recorded:
    """The newest verified backup of this database, in the caller's transaction; nothing is locked.

    `what` begins the message ("wave 4 takes 1,200 of 10,000 bots"), `else_say` ends it ("or go on
    without one: --without-backup").

    Raises:
        UsageError: none was taken and found whole in the last 24 hours; says what is there, and which
            commands make one.
    """
    found = record.newest_verified(connection, RECENT_HOURS)
    if found is None:
        raise UsageError(f"{what}: {_lacking(connection, else_say)}")
    return found


def why_no_wave(connection: sa.Connection, found: Publication, wave: Wave) -> str | None:
    """Why a wave may not begin: it is large, and there is no recently verified backup; None if it may.

    A wave is large from 10 % of its publication's bots on, and never if it is one bot.
    """
    if not found.options.needs_backup or not asks_for_backup(wave.bot_count, found.bot_count):
        return None
    how = FOR_FIRST
    if wave.number > 1:
        how = f"`flowshift go {found.publication_id} --without-backup`"
    why = why_no_backup(connection, how)
    size = f"it takes {wave.bot_count:,} of {counted(found.bot_count, 'bot')}"
    return None if why is None else f"{size}; {why}"


def why_no_backup(connection: sa.Connection, without: str) -> str | None:
    """What keeps large waves from beginning, and how they begin `without` one; None if nothing does."""
    if record.newest_verified(connection, RECENT_HOURS) is not None:
        return None
    return _lacking(connection, f"or go on without one: {without}")


def _lacking(connection: sa.Connection, else_say: str) -> str:
    also = f", {else_say}" if else_say else ""
    return (
        f"this needs a backup of the database that was taken and verified less than {RECENT_HOURS} hours"
        f" ago, and {_what_is_there(record.newest(connection))}. Run `flowshift backup DIR`, then"
        f" `flowshift backup verify DIR`{also}"
    )


def _what_is_there(newest: Recorded | None) -> str:
    if newest is None:
        return "there is none"
    taken = (
        f"the newest, {quote(newest.directory)}, was taken at {newest.taken_at:%Y-%m-%d %H:%M} UTC"
    )
    if newest.verified_at is None:
        return f"{taken} and never verified"
    said = f"{taken} and verified at {newest.verified_at:%Y-%m-%d %H:%M} UTC"
    return f"{said}: {newest.differences:,} differences" if newest.differences else said
