"""The throttle before each batch: read the database's health, judge it, say go, wait or stop.

One throttle per process. It reads at most once a second, however many batches pass, and remembers what
only this process knows: how long its commits took, and since when a check cannot be read.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Final, Protocol

import msgspec
import psycopg
import sqlalchemy as sa

from worker.core.policy import health, health_checks, pace
from worker.core.policy.health import COMMITS_LOOKED_AT, Finding, Readings, Unreadable, Verdict
from worker.db import health as health_table
from worker.db.engine import is_transient, map_database_errors, sqlstate
from worker.db.sqlstate import CANCELLED
from worker.log import get_logger
from worker.settings import Settings

log = get_logger(__name__)

FRESH_S = 1.0
"""Seconds for which what was read holds."""

COMMITS_KEPT_S = 10.0
"""Older commits are forgotten, so that after a wait one batch is tried again."""

MOST_REST_S = 60.0
"""No rest after a batch is longer, whatever its ratio."""

UNREAD_S: Final = 60.0
"""So long a check may be unreadable before that counts as `wait`."""


class Timed(Protocol):
    """Work that is done: how long it took, and its commit."""

    @property
    def duration_ms(self) -> int:
        """Milliseconds from its beginning to its commit."""

    @property
    def commit_ms(self) -> float:
        """Milliseconds that the commit took."""


class Throttle:
    """Whether a batch may begin, by the health of the database."""

    def __init__(
        self,
        engine: sa.Engine,
        settings: Settings,
        *,
        application_name: str = "flowshift",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._engine = engine
        self._settings = settings
        self._name = application_name
        self._clock = clock
        self._commits: deque[tuple[float, float]] = deque(maxlen=COMMITS_LOOKED_AT)
        self._unread_since: dict[str, float] = {}
        self._rested_from: tuple[float, float] | None = None
        self._seen: tuple[float, Readings | list[Unreadable]] | None = None

    def record(self, work: Timed) -> None:
        """Keep how long this process's last batch and its commit took."""
        now = self._clock()
        self._commits.append((now, work.commit_ms))
        self._rested_from = (now, pace.rest_s(work.duration_ms, self._settings.nice_ratio))

    def rest_s(self) -> float:
        """Seconds that this process still has to rest after its last batch."""
        if self._rested_from is None:
            return 0.0
        ended, rest = self._rested_from
        return max(0.0, min(rest, MOST_REST_S) - (self._clock() - ended))

    def check(self) -> Verdict:
        """The verdict that counts, by what was read at most `FRESH_S` ago and the commits until now.

        Raises:
            TransientError: the database was unavailable.
        """
        return health.worst(self.check_all())

    def check_now(self) -> Verdict:
        """The verdict that counts, read again.

        Raises:
            TransientError: the database was unavailable.
        """
        self._seen = None
        return self.check()

    def check_all(self) -> list[Verdict]:
        """What every check says, by what was read at most `FRESH_S` ago and the commits until now.

        Raises:
            TransientError: the database was unavailable.
        """
        now = self._clock()
        if self._seen is None or now - self._seen[0] >= FRESH_S:
            self._seen = (now, self._look())
        findings = self._findings(self._seen[1], now)
        self._remember_unread(findings, now)
        unread_for_s = {check: now - since for check, since in self._unread_since.items()}
        return health.settle(findings, unread_for_s, UNREAD_S)

    def _look(self) -> Readings | list[Unreadable]:
        """What the database says of itself and the user's query answers, or why it cannot be read."""
        with map_database_errors():
            try:
                with self._engine.begin() as connection:
                    timeout_ms = self._settings.health_timeout_ms
                    connection.exec_driver_sql(f"SET LOCAL statement_timeout = {timeout_ms:d}")
                    readings = health_table.read(
                        connection,
                        application_name=self._name,
                        time_zone=self._settings.time_zone,
                    )
            except (psycopg.Error, sa.exc.SQLAlchemyError) as error:
                if is_transient(error) and sqlstate(error) != CANCELLED:
                    raise
                reason = f"reading it failed ({sqlstate(error) or type(error).__name__})"
                return [Unreadable(check, reason) for check in health_checks.CHECKS]
            query = self._settings.health_query
            answer = health_table.ask(self._engine, query, timeout_ms=timeout_ms) if query else None
            return msgspec.structs.replace(readings, answer=answer)

    def _findings(self, seen: Readings | list[Unreadable], now: float) -> Sequence[Finding]:
        if not isinstance(seen, Readings):
            return seen
        commits = tuple(ms for at, ms in self._commits if now - at < COMMITS_KEPT_S)
        readings = msgspec.structs.replace(seen, commit_ms=commits)
        return health_checks.judge(readings, self._settings.limits)

    def _remember_unread(self, findings: Iterable[Finding], now: float) -> None:
        unread = {found.check: found.reason for found in findings if isinstance(found, Unreadable)}
        for check, reason in unread.items():
            if check not in self._unread_since:
                log.warning("health.unread", check=check, reason=reason)
        self._unread_since = {check: self._unread_since.get(check, now) for check in unread}
