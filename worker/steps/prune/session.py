"""Work in small transactions: a gate before each, a pause after, and a size that suits the database.

gate: go? ─► begin, time limits, a batch of `size`, count it, commit ─► next size ─► pause
  wait: ask again        too slow, or locked: nothing is done, a smaller size
  stop: end              connection lost: a new one, and the batch again
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Final, Protocol, TypeVar

import psycopg
import sqlalchemy as sa
from sqlalchemy import exc

from worker.core.policy import retention as rules
from worker.core.policy.health import Verdict
from worker.db.engine import is_transient, map_database_errors, reason_of, sqlstate
from worker.db.prune import record
from worker.db.session import has_own
from worker.errors import FlowshiftError, StaleError, TransientError
from worker.log import get_logger

log = get_logger(__name__)

Gate = Callable[[], Verdict]

GATE_AGAIN_S: Final = 2.0
"""Pause before a gate that said wait is asked again."""

FAULTS: Final = 8
"""Times that a connection may be lost in a row, about half a minute, before the work is given up."""

_TOO_SLOW: Final = "57014"  # cancelled, here by the statement time-out
_LOCKED: Final = frozenset({"55P03", "40P01"})  # lock time-out, deadlock
# What the platform's schema refuses: a foreign key (also one deferred to the commit, or one that
# hides its rows), another constraint, a trigger that raises.
_REFUSED: Final = ("23", "27", "P0", "38", "39")


class Seen(Protocol):
    """What a batch returns: how many rows it looked at."""

    @property
    def seen(self) -> int: ...


_T = TypeVar("_T", bound=Seen)


class StoppedError(FlowshiftError):
    """The gate said stop."""


class LeftError(FlowshiftError):
    """The gate said wait, or the time is up (`is_out_of_time`): somebody goes on later."""

    def __init__(self, message: str, *, is_out_of_time: bool) -> None:
        super().__init__(message)
        self.is_out_of_time = is_out_of_time


class TooMuchError(FlowshiftError):
    """A batch of a single row takes too long, or cannot be done now (`is_locked`, `is_refused`).

    `is_locked`: it needs what another session has locked. `is_refused`: a constraint or a trigger of
    the platform's does not let it go; the message is the server's.
    """

    def __init__(self, message: str, *, is_locked: bool = False, is_refused: bool = False) -> None:
        super().__init__(message)
        self.is_locked = is_locked
        self.is_refused = is_refused


def always_go() -> Verdict:
    """The gate where there are no health checks."""
    return Verdict("go")


class Paced:
    """The one session that prunes: it holds the lock, and does one batch after another.

    `until`, on `clock`, is when to leave. `patient` says whether to stay while the gate says wait;
    `waiting` is told of each such verdict.
    """

    def __init__(
        self,
        engine: sa.Engine,
        *,
        gate: Gate,
        pause_s: float,
        until: float | None = None,
        patient: bool = True,
        waiting: Callable[[Verdict], None] = lambda _: None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._engine = engine
        self._gate = gate
        self._pause_s = pause_s
        self._until = until
        self._patient = patient
        self._waiting = waiting
        self._clock = clock
        self._sleep = sleep
        self._connection: sa.Connection | None = None
        self._keeper: sa.Connection | None = None
        self._faults = 0
        self.prune_id = 0
        self.size = rules.FIRST_SIZE
        self.batches = 0
        self.longest_ms = 0.0

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the lock of prunes for the block.

        Raises:
            StaleError: another session has it.
            TransientError: the database is away.
        """
        self._connect()
        try:
            yield
        finally:
            self._disconnect()

    @contextmanager
    def reading(self) -> Iterator[sa.Connection]:
        """The session for a look that deletes nothing, with the ordinary time-outs."""
        with map_database_errors(), self._session().begin():
            yield self._session()

    @property
    def has_own_session(self) -> bool:
        """Whether statements outside of transactions have time-outs: not through a pooler."""
        return has_own(self._session())

    @contextmanager
    def outside_transactions(self) -> Iterator[sa.Connection]:
        """The session for statements that must not be in a transaction."""
        connection = self._session().execution_options(isolation_level="AUTOCOMMIT")
        try:
            yield connection
        finally:
            connection.rollback()  # of SQLAlchemy's own account: the server has no transaction
            connection.execution_options(isolation_level="READ COMMITTED")

    def pause(self, attempt: int) -> None:
        """Pause before another try of what found a table busy."""
        self._sleep(attempt * random.uniform(0.2, 0.4))  # noqa: S311 - no secret

    def begin_part(self) -> None:
        """Start with a small size again: the rows are of another kind."""
        self.size = rules.FIRST_SIZE

    def ask(self) -> None:
        """Go on only if the gate lets us.

        Raises:
            StoppedError: it said stop.
            LeftError: the time is up, or it said wait and we are not patient.
        """
        said: Verdict | None = None
        while True:
            if self._until is not None and self._clock() >= self._until:
                raise LeftError("its time slice is over", is_out_of_time=True)
            verdict = self._gate()
            if verdict.decision == "go":
                return
            if verdict.decision == "stop":
                raise StoppedError(verdict.reason)
            if verdict != said:
                log.info("prune.waited", check=verdict.check, reason=verdict.reason)
                said = verdict
            if not self._patient:
                raise LeftError(verdict.reason, is_out_of_time=False)
            self._waiting(verdict)
            self._sleep(GATE_AGAIN_S)

    def batch(
        self, work: Callable[[sa.Connection, int], _T], gone: Callable[[_T], Mapping[str, int]]
    ) -> _T:
        """Do one batch, as often as it takes, and count what is `gone` in the same transaction.

        Raises:
            TooMuchError: even one row is too much.
            StoppedError, LeftError: see `ask`.
            StaleError: another session took the lock while our connection was lost.
            TransientError: the database stayed away.
        """
        while True:
            self.ask()
            size, began = self.size, self._clock()
            try:
                with self.transaction() as connection:
                    result = work(connection, size)
                    counts = {kind: number for kind, number in gone(result).items() if number}
                    if counts:
                        record.add(connection, self.prune_id, counts)
            except (psycopg.Error, exc.SQLAlchemyError) as error:
                self.longest_ms = max(self.longest_ms, (self._clock() - began) * 1000)
                self._after(error)
                continue
            took_ms = (self._clock() - began) * 1000
            self._faults = 0
            self.batches += 1
            self.longest_ms = max(self.longest_ms, took_ms)
            if result.seen >= size:
                self.size = rules.size_after(size, took_ms)
            self._sleep(self._pause_s)
            return result

    @contextmanager
    def transaction(self) -> Iterator[sa.Connection]:
        """A transaction with the time limits of a batch."""
        connection = self._session()
        with connection.begin():
            connection.execute(
                _LIMITS, {"statement": f"{rules.LIMIT_MS}ms", "lock": f"{rules.LOCK_MS}ms"}
            )
            yield connection

    def _after(self, error: psycopg.Error | exc.SQLAlchemyError) -> None:
        """Make ready for another try of a batch that failed, or raise what says why not."""
        state = sqlstate(error) or ""
        is_refused = state.startswith(_REFUSED)
        if state == _TOO_SLOW or state in _LOCKED or is_refused:
            reason = (
                "locked" if state in _LOCKED else reason_of(error) if is_refused else "too slow"
            )
            log.info("prune.slowed", size=self.size, reason=reason)
            if self.size == 1:
                raise TooMuchError(
                    reason, is_locked=state in _LOCKED, is_refused=is_refused
                ) from error
            self.size = rules.size_after_timeout(self.size)
            self._sleep(self._pause_s)
            return
        with map_database_errors():
            if not is_transient(error):
                raise error
            self._faults += 1
            if self._faults >= FAULTS:
                raise error
        self._reconnect(error)

    def _reconnect(self, error: BaseException) -> None:
        """A new session, with the lock: the old one's goes when the server notices that it is gone."""
        log.warning("prune.reconnected", attempt=self._faults, error=type(error).__name__)
        self._disconnect()
        while True:
            pause_s = min(10.0, 0.2 * 2**self._faults)
            self._sleep(random.uniform(0.5, 1.0) * pause_s)  # noqa: S311 - no secret
            try:
                self._connect()
            except (TransientError, StaleError):
                self._faults += 1
                if self._faults >= FAULTS:
                    raise
            else:
                return

    def _session(self) -> sa.Connection:
        assert self._connection is not None  # noqa: S101  (only within `locked`)
        return self._connection

    def _connect(self) -> None:
        with map_database_errors():
            connection = self._engine.connect()
            try:
                has_lock = self._lock(connection)
            except BaseException:
                connection.close()
                raise
        if not has_lock:
            connection.close()
            raise StaleError("another prune is under way")
        self._connection = connection

    def _lock(self, connection: sa.Connection) -> bool:
        if has_own(connection):
            with connection.begin():
                return record.lock(connection)
        # A pooler is in between: the lock is a transaction's, which stays open beside our work.
        keeper = self._engine.connect()
        try:
            has_lock = record.lock_in_transaction(keeper)
        except BaseException:
            keeper.close()
            raise
        if has_lock:
            self._keeper = keeper
        else:
            keeper.close()
        return has_lock

    def _disconnect(self) -> None:
        """Close the session for good: whatever it was doing, its lock goes with it."""
        for connection in (self._connection, self._keeper):
            if connection is not None:
                connection.invalidate()
                connection.close()
        self._connection = self._keeper = None


# A commit need not wait for the disk: what a crash of the server takes back, deletions and counts
# alike, is deleted again. References that a row level security policy hides are an error, not gone.
_LIMITS = sa.text(
    "SELECT set_config('statement_timeout', :statement, true),"
    " set_config('lock_timeout', :lock, true), set_config('synchronous_commit', 'off', true),"
    " set_config('row_security', 'off', true)"
)
