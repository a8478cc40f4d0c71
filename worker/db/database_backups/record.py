"""Which backups were taken of this database, and which of them were verified."""

from __future__ import annotations

import datetime as dt
import uuid
from typing import Final

import msgspec
import sqlalchemy as sa

from worker.db.backup_tables import database_backups


class Recorded(msgspec.Struct, frozen=True, kw_only=True):
    """A backup as it is on record; `differences` is None if it was never verified."""

    backup_id: uuid.UUID
    taken_at: dt.datetime
    taken_by: str
    directory: str
    verified_at: dt.datetime | None
    differences: int | None


_FIELDS: Final = [database_backups.c[name] for name in Recorded.__struct_fields__]


def add(
    connection: sa.Connection,
    backup_id: uuid.UUID,
    *,
    taken_at: dt.datetime,
    taken_by: str,
    directory: str,
    bots: int,
    snapshot: str,
) -> None:
    """Put a backup on record: only what is on record here can be noted as verified."""
    connection.execute(
        sa.insert(database_backups).values(
            backup_id=backup_id,
            taken_at=taken_at,
            taken_by=taken_by,
            directory=directory,
            bots=bots,
            snapshot=snapshot,
        )
    )


def note_verified(
    connection: sa.Connection,
    backup_id: uuid.UUID,
    *,
    actor: str,
    duration_ms: int,
    differences: int,
) -> bool:
    """Note how the last verification ended. False if no such backup was taken of this database."""
    changed = connection.execute(
        sa.update(database_backups)
        .where(database_backups.c.backup_id == backup_id)
        .values(
            verified_at=sa.func.now(),
            verified_by=actor,
            duration_ms=duration_ms,
            differences=differences,
        )
    )
    return changed.rowcount == 1


def newest(connection: sa.Connection) -> Recorded | None:
    """The newest backup on record."""
    query = sa.select(*_FIELDS).order_by(database_backups.c.taken_at.desc()).limit(1)
    row = connection.execute(query).one_or_none()
    return None if row is None else Recorded(**row._asdict())


def newest_verified(connection: sa.Connection, hours: int) -> Recorded | None:
    """The newest backup that was taken, and found whole, within so many hours by the database's clock."""
    since = sa.func.now() - sa.func.make_interval(0, 0, 0, 0, hours)
    query = (
        sa.select(*_FIELDS)
        .where(
            database_backups.c.differences == 0,
            database_backups.c.verified_at > since,
            database_backups.c.taken_at > since,
        )
        .order_by(database_backups.c.taken_at.desc())
        .limit(1)
    )
    row = connection.execute(query).one_or_none()
    return None if row is None else Recorded(**row._asdict())
