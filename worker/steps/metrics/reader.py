"""One reader for however many ask: who asks while a reading is made, or soon after, gets that one."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Final

import sqlalchemy as sa

from worker.core.metrics.model import Sample
from worker.db.engine import create_engine, database_url
from worker.settings import Settings
from worker.steps.metrics.read import STATEMENT_MS, read

FRESH_S: Final = 5.0
"""So long a reading is given to all that ask."""

CONNECT_S: Final = 3
"""How long the database may take to answer: Prometheus gives a scrape up after 10 s."""


class MetricsReader:
    """Reads metrics for a process that serves them; any number of threads may ask at once."""

    def __init__(
        self,
        read: Callable[[], list[Sample]],
        *,
        fresh_s: float = FRESH_S,
        clock: Callable[[], float] = time.monotonic,
        close: Callable[[], None] = lambda: None,
    ) -> None:
        self._make = read
        self.close = close
        self._fresh_s = fresh_s
        self._clock = clock
        self._lock = threading.Lock()
        self._last: tuple[float, list[Sample]] | None = None

    @classmethod
    def of(cls, url: str, settings: Settings) -> MetricsReader:
        """A reader of a database, on connections of its own that give up soon."""
        engine = metrics_engine(url)
        return cls(lambda: read(engine, settings), close=engine.dispose)

    def read(self) -> list[Sample]:
        """A reading that is at most `fresh_s` old; waits for one that is being made."""
        with self._lock:
            now = self._clock()
            if self._last is None or now - self._last[0] >= self._fresh_s:
                made = self._make()
                self._last = (self._clock(), made)
            return self._last[1]


def metrics_engine(url: str) -> sa.Engine:
    """An engine for reading metrics: nothing waits long for a database that does not answer."""
    given = database_url(url)
    impatient = {"connect_timeout": str(CONNECT_S), "tcp_user_timeout": str(CONNECT_S * 1000)}
    return create_engine(
        given.update_query_dict({k: v for k, v in impatient.items() if k not in given.query}),
        lock_timeout_ms=STATEMENT_MS,
        statement_timeout_ms=STATEMENT_MS,
        application_name="flowshift metrics",
    )
