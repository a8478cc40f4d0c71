"""What the demo's publication asks the database: which bots take part, and what became of each."""

from __future__ import annotations

import sqlalchemy as sa

from worker.db.engine import map_database_errors
from worker.db.publication import members, waves
from worker.db.publication.members import Member
from worker.steps.publication.report import newest_publications


def bots_to_publish(engine: sa.Engine, run_id: int, most: int) -> list[str]:
    """The first bots whose drafts a run wrote, or left as they were; at most `most`."""
    with map_database_errors(), engine.connect() as connection:
        return waves.bots_of_run(connection, run_id)[:most]


def newest_publication(engine: sa.Engine) -> int:
    """The number of the newest publication, 0 without one."""
    found = newest_publications(engine, 1)
    return found[0].publication_id if found else 0


def members_of(engine: sa.Engine, publication_id: int) -> list[Member]:
    """Every bot of a publication, wave by wave, in the order of their ids."""
    with map_database_errors(), engine.connect() as connection:
        return members.members(connection, publication_id)
