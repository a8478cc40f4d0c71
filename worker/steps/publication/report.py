"""Read publications with their waves."""

from __future__ import annotations

import sqlalchemy as sa

from worker.db.engine import map_database_errors
from worker.db.publication import waves
from worker.db.publication.waves import Publication, Wave
from worker.errors import UsageError


def newest_publications(engine: sa.Engine, limit: int) -> list[tuple[Publication, list[Wave]]]:
    """The newest publications, the newest first.

    Raises:
        TransientError: the database was unavailable.
    """
    with map_database_errors(), engine.connect() as connection:
        found = waves.newest(connection, limit)
        return [(one, waves.of(connection, one.publication_id)) for one in found]


def publication_of(engine: sa.Engine, publication_id: int) -> tuple[Publication, list[Wave]]:
    """A publication with its waves.

    Raises:
        UsageError: there is none.
        TransientError: the database was unavailable.
    """
    with map_database_errors(), engine.connect() as connection:
        found = waves.get(connection, publication_id)
        if found is None:
            raise UsageError(
                f"there is no publication {publication_id}: `flowshift publications` lists them"
            )
        return found, waves.of(connection, publication_id)
