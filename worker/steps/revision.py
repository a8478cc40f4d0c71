"""At which revision the database is: what every command asks first, so that little is imported here."""

from __future__ import annotations

import sqlalchemy as sa

from worker.db.engine import map_database_errors
from worker.db.schema import revision


def revision_of(engine: sa.Engine) -> str | None:
    """The revision of flowshift's tables; None if there are none yet.

    Raises:
        TransientError: the database was unavailable.
    """
    with map_database_errors(), engine.connect() as connection:
        return revision.current(connection)
