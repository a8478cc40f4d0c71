"""How a supervisor looks at its processes: by their heartbeats, while it reaches the servers itself."""

from __future__ import annotations

import socket
from collections.abc import Callable, Sequence

import sqlalchemy as sa

from worker.core.policy.processes import MISSED_MAX, Process, condition_of
from worker.db import heartbeats
from worker.db.engine import map_database_errors
from worker.errors import FlowshiftError
from worker.log import get_logger
from worker.runtime import Runtime

log = get_logger(__name__)


def max_age_s(current: Runtime) -> float:
    """How old a heartbeat, and what it shows of the work, may be."""
    return float(MISSED_MAX * current.settings.heartbeat_s)


class Vitals:
    """Reads the heartbeats of this host, on a connection that it closes again."""

    def __init__(self, current: Runtime, queue_answers: Callable[[], bool]) -> None:
        self._current = current
        self._queue_answers = queue_answers

    def look(self) -> Sequence[Process] | None:
        """The heartbeats; None where the database, or the queue that all wait for, is unavailable."""
        try:
            with map_database_errors(), self._current.engine.connect() as connection:
                found = heartbeats.processes(connection, host=socket.gethostname())
        except (FlowshiftError, sa.exc.SQLAlchemyError) as error:
            log.info("heartbeats.unread", error=heartbeats.why_unusable(error))
            return None
        finally:
            self._current.engine.dispose()
        limit_s = max_age_s(self._current)
        all_work = all(condition_of(one, limit_s) in ("works", "stopped") for one in found)
        return found if (found and all_work) or self._queue_answers() else None
