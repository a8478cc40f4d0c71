"""Whether there is something to be sent."""

from __future__ import annotations

from worker.db import channels as database
from worker.db.engine import map_database_errors
from worker.runtime import Runtime


def is_sending_due(current: Runtime, *, waited_s: float = 0.0) -> bool:
    """Whether a channel could be sent something now, and could have been for `waited_s` seconds.

    Raises:
        TransientError: the database was unavailable.
    """
    channels = current.channels
    if channels is None:
        return False
    with map_database_errors(), current.engine.connect() as connection:
        return database.is_due(connection, channels.names, waited_s=waited_s)
