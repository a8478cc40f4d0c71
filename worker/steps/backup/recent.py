"""Ask for a backup of the database that was taken and verified less than a day ago."""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa

from worker.core.codes import quote
from worker.db.database_backups import record
from worker.db.database_backups.record import Recorded
from worker.errors import UsageError

RECENT_HOURS: Final = 24


def need_recent_backup(connection: sa.Connection, what: str, *, else_say: str = "") -> Recorded:
    """The newest verified backup of this database, in the caller's transaction; nothing is locked.

    `what` begins the message ("wave 4 takes 1,200 of 10,000 bots"), `else_say` ends it ("or go on
    without one: --without-backup").

    Raises:
        UsageError: none was taken and found whole in the last 24 hours; says what is there, and which
            commands make one.
    """
    found = record.newest_verified(connection, RECENT_HOURS)
    if found is not None:
        return found
    also = f", {else_say}" if else_say else ""
    raise UsageError(
        f"{what}: this needs a backup of the database that was taken and verified less than"
        f" {RECENT_HOURS} hours ago, and {_what_is_there(record.newest(connection))}. Run `flowshift"
        f" backup DIR`, then `flowshift backup verify DIR`{also}"
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
