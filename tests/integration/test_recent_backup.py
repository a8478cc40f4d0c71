"""Who asks for a recent backup gets the newest one that was found whole, or what to do."""

from __future__ import annotations

import datetime as dt
import uuid

import pytest
import sqlalchemy as sa

from tests.fleet import Fleet
from worker.db.database_backups import record
from worker.errors import UsageError
from worker.steps.backup.recent import need_recent_backup


def taken(fleet: Fleet, directory: str, *, hours_ago: float) -> uuid.UUID:
    """A backup on record."""
    backup_id = uuid.uuid4()
    with fleet.engine.begin() as connection:
        now = connection.execute(sa.text("SELECT now()")).scalar_one()
        record.add(
            connection,
            backup_id,
            taken_at=now - dt.timedelta(hours=hours_ago),
            taken_by="test",
            directory=directory,
            bots=3,
            snapshot="1:1:",
        )
    return backup_id


def verified(
    fleet: Fleet, backup_id: uuid.UUID, *, hours_ago: float = 0, differences: int = 0
) -> bool:
    with fleet.engine.begin() as connection:
        is_known = record.note_verified(
            connection,
            backup_id,
            actor="test",
            duration_ms=5,
            differences=differences,
        )
    fleet.execute(
        "UPDATE flowshift.database_backups SET verified_at = now() - make_interval(secs => :s)"
        " WHERE backup_id = :id",
        id=backup_id,
        s=hours_ago * 3600,
    )
    return is_known


def asked(fleet: Fleet) -> str:
    """The directory of the backup, or why there is none."""
    with fleet.engine.connect() as connection:
        try:
            return need_recent_backup(connection, "wave 2").directory
        except UsageError as error:
            return str(error)


def test_without_any_backup_it_says_which_commands_make_one(fleet: Fleet) -> None:
    said = asked(fleet)

    assert said.startswith("wave 2: this needs a backup of the database")
    assert "there is none" in said
    assert "`flowshift backup DIR`, then `flowshift backup verify DIR`" in said


def test_a_backup_that_was_never_verified_does_not_do(fleet: Fleet) -> None:
    taken(fleet, "monday", hours_ago=1)

    assert "'monday', was taken at" in asked(fleet)
    assert "never verified" in asked(fleet)


def test_a_backup_that_differed_does_not_do(fleet: Fleet) -> None:
    verified(fleet, taken(fleet, "monday", hours_ago=1), differences=7)

    assert "7 differences" in asked(fleet)


@pytest.mark.parametrize(
    ("taken_h", "verified_h", "does"),
    [(23.99, 0.1, True), (23.99, 23.98, True), (24.01, 0.1, False), (24.02, 24.01, False)],
)
def test_it_counts_for_24_hours_from_when_it_was_taken(
    fleet: Fleet, taken_h: float, verified_h: float, does: bool
) -> None:
    verified(fleet, taken(fleet, "monday", hours_ago=taken_h), hours_ago=verified_h)

    assert (asked(fleet) == "monday") == does


def test_of_several_the_newest_verified_one_counts(fleet: Fleet) -> None:
    verified(fleet, taken(fleet, "older", hours_ago=5))
    verified(fleet, taken(fleet, "newer", hours_ago=2))
    taken(fleet, "unverified", hours_ago=1)

    assert asked(fleet) == "newer"


def test_a_backup_of_another_database_is_not_noted(fleet: Fleet) -> None:
    assert not verified(fleet, uuid.uuid4())
    assert "there is none" in asked(fleet)
