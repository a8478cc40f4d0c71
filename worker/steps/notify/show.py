"""What people were told, and what is stuck."""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa

from worker.db import channels as database
from worker.db import notifications
from worker.db.channels import Stuck
from worker.db.engine import map_database_errors
from worker.db.notifications import Told


def recent(engine: sa.Engine, limit: int) -> Sequence[Told]:
    """The newest notifications, the newest last.

    Raises:
        TransientError: the database was unavailable.
    """
    with map_database_errors(), engine.connect() as connection:
        return notifications.recent(connection, limit)


def stuck(engine: sa.Engine) -> Sequence[Stuck]:
    """The channels that have not taken what they should have, by name.

    Raises:
        TransientError: the database was unavailable.
    """
    with map_database_errors(), engine.connect() as connection:
        return database.stuck(connection)
