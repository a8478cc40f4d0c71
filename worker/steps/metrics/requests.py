"""Commit what a process measured of its requests: to the totals, and to the last minutes."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable

import sqlalchemy as sa

from worker.core.metrics.catalogue import HTTP_WINDOW_S
from worker.core.metrics.requests import window_of
from worker.db.engine import map_database_errors
from worker.db.measuring import totals
from worker.db.measuring.measured import Measured
from worker.db.metrics import http


class RequestTotals:
    """The requests of one process of `flowshift serve`, on their way into the database."""

    def __init__(
        self, engine: sa.Engine, requests: Measured, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._engine = engine
        self._requests = requests
        self._clock = clock
        self._instance_id = uuid.uuid4()
        self._committed_at = clock()

    def commit(self) -> None:
        """Add what was measured since the last time, in one short transaction; nothing if there is nothing.

        What could not be committed stays, added up, for the next time. What was measured over more than
        the last minutes then counts in the totals alone.

        Raises:
            TransientError: the database was unavailable.
        """
        began = self._clock()
        with (
            self._requests.handed_over() as take,
            map_database_errors(),
            self._engine.begin() as connection,
        ):
            samples = take()
            if not samples:
                return
            http.forget(connection)
            window = window_of(samples)
            if window.requests and began - self._committed_at <= HTTP_WINDOW_S:
                http.add(connection, self._instance_id, window)
            totals.add(connection, samples)
        self._committed_at = began
