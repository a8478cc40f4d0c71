"""Which bots are asked of late: canaries without traffic would show nothing."""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa
from sqlalchemy import exc

from worker.db.engine import map_database_errors, sqlstate
from worker.db.publication import traffic_before, traffic_v1
from worker.db.sqlstate import CANCELLED
from worker.log import get_logger

log = get_logger(__name__)

DAYS: Final = (7, 1)
"""So many days are read, or fewer where that takes longer than a statement may here."""


def asked_of_late(engine: sa.Engine) -> dict[str, float]:
    """How many executions a day each bot had of late; empty where that cannot be read in time.

    V2's executions, and V1's where the platform leaves rows of them. Nothing else says how often a bot
    is asked: that it was edited, say, does not.

    Raises:
        TransientError: the database was unavailable.
    """
    with map_database_errors():
        for days in DAYS:
            try:
                with engine.begin() as connection:
                    traffic_v1.limit_time(connection)
                    return traffic_before.a_day(connection, days)
            except exc.DBAPIError as error:
                if sqlstate(error) != CANCELLED:
                    raise
    log.warning("plan.traffic_unknown", reason="reading the last day takes too long")
    return {}
