"""Work in small transactions: a check before each, a pause after, and a size that suits the database.

check: go? ─► begin, time limits, a batch of `size`, count it, commit ─► next size ─► pause
  wait: ask again        too slow, or locked: nothing is done, a smaller size
  stop: end              connection lost: a new one, and the batch again
"""

from __future__ import annotations

import contextlib
import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

import psycopg
import sqlalchemy as sa
from sqlalchemy import exc

from worker.core.policy import prune as rules
from worker.core.policy.health import Verdict
from worker.db.engine import is_transient, map_database_errors, reason_of, sqlstate
from worker.db.prune import partitions, record
from worker.db.prune.piece import Piece
from worker.db.session import has_own
from worker.db.sqlstate import CANCELLED, LOCKED
from worker.errors import StaleError, TransientError
from worker.log import get_logger
from worker.steps.prune.errors import LeftError, StoppedError, TooMuchError
from worker.steps.prune.tally import Moved, Tally

log = get_logger(__name__)

Check = Callable[[], Verdict]
Work = Callable[[sa.Connection, int], Piece]

GATE_AGAIN_S: Final = 2.0
"""Pause before a check that said wait is asked again."""

FAULTS: Final = 8
"""Times that a connection may be lost in a row, about half a minute, before the work is given up."""

# What the platform's schema refuses: a foreign key (also one deferred to the commit, or one that
# hides its rows), another constraint, a trigger that raises.
_REFUSED: Final = ("23", "27", "P0", "38", "39")


def always_go() -> Verdict:
    """The check if there are no health checks."""
    return Verdict("go")


class Session:
    """The one session that prunes: it holds the lock, and does one batch after another.

    It may take `slice_s` by `clock`, None without limit. `patient` says whether to stay while the
    check says wait.
    """

    def __init__(
        self,
        engine: sa.Engine,
        *,
        check: Check = always_go,
        pause_s: float = 0.01,
        slice_s: float | None = None,
        patient: bool = True,
        show: Callable[[Moved], None] = lambda _: None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._engine = engine
        self._check = check
        self._pause_s = pause_s
        self._until = None if slice_s is None else clock() + slice_s
        self._patient = patient
        self._clock = clock
        self._sleep = sleep
        self._connection: sa.Connection | None = None
        self._keeper: sa.Connection | None = None
        self._faults = 0
        self._size = rules.FIRST_SIZE
        self.tally = Tally(show, clock)
        self.prune_id = 0
        self.batches = 0
        self.longest_ms = 0.0

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the lock of prunes for the block.

        Raises:
            StaleError: another session has it.
            TransientError: the database is unavailable.
        """
        self._connect()
        try:
            yield
            self._unlock()
        finally:
            self._disconnect()

    @contextmanager
    def reading(self) -> Iterator[sa.Connection]:
        """The session for a look that deletes nothing, with the ordinary time-outs."""
        with map_database_errors(), self._session().begin():
            yield self._session()

    @contextmanager
    def transaction(self) -> Iterator[sa.Connection]:
        """A transaction with the time limits of a batch."""
        connection = self._session()
        with connection.begin():
            connection.execute(
                _LIMITS, {"statement": f"{rules.LIMIT_MS}ms", "lock": f"{rules.LOCK_MS}ms"}
            )
            yield connection

    @property
    def has_own_session(self) -> bool:
        """Whether statements outside of transactions have time-outs: not through a pooler."""
        return has_own(self._session())

    def alone(self, statement: sa.TextClause, statement_ms: int) -> None:
        """Execute a statement that must not be in a transaction, with time limits of its own."""
        connection = self._session().execution_options(isolation_level="AUTOCOMMIT")
        try:
            lock_ms = max(rules.LOCK_MS, statement_ms // 2)
            with partitions.time_limits(connection, statement_ms, lock_ms):
                connection.execute(statement)
        finally:
            connection.rollback()  # of SQLAlchemy's own account: the server has no transaction
            connection.execution_options(isolation_level="READ COMMITTED")

    def pause(self, attempt: int) -> None:
        """Pause before another try of what found a table busy."""
        self._sleep(attempt * random.uniform(0.2, 0.4))  # noqa: S311 - no secret

    def ask(self) -> None:
        """Continue only if the check says go.

        Raises:
            StoppedError: it said stop.
            LeftError: the time is up, or it said wait and we are not patient.
        """
        said: Verdict | None = None
        while True:
            if self._until is not None and self._clock() >= self._until:
                raise LeftError("its time slice is over", is_out_of_time=True)
            verdict = self._check()
            if verdict.decision == "go":
                return
            if verdict.decision == "stop":
                raise StoppedError(verdict.reason)
            if verdict != said:
                log.info("prune.waited", check=verdict.check, reason=verdict.reason)
                said = verdict
            if not self._patient:
                raise LeftError(verdict.reason, is_out_of_time=False)
            self.tally.tell(verdict)
            self._sleep(GATE_AGAIN_S)

    def begin_part(self) -> None:
        """Start with a small size again: the rows are of another kind."""
        self._size = rules.FIRST_SIZE

    def pages(self, work: Callable[[sa.Connection, Any, int], Piece]) -> Iterator[Piece]:
        """Batches of `work`, each from the mark of the one before, until one sees nothing."""
        self.begin_part()
        mark: Any = None
        while True:
            piece = self.batch(lambda connection, size, mark=mark: work(connection, mark, size))  # type: ignore[misc]
            yield piece
            if piece.mark is None:
                return
            mark = piece.mark

    def until_empty(self, work: Work) -> None:
        """Batches of `work` until one deletes nothing."""
        self.begin_part()
        while any(self.batch(work).gone.values()):
            pass

    def batch(self, work: Work) -> Piece:
        """Ask the check, do a batch in a transaction that also counts it, then pause.

        Raises:
            TooMuchError: a single row is too much.
            StoppedError, LeftError: see `ask`.
            StaleError: another session took the lock while our connection was lost.
            TransientError: the database stayed unavailable.
        """
        while True:
            self.ask()
            size, began = self._size, self._clock()
            try:
                with self.transaction() as connection:
                    piece = work(connection, size)
                    record.add(connection, self.prune_id, piece.gone)
            except (psycopg.Error, exc.SQLAlchemyError) as error:
                self.longest_ms = max(self.longest_ms, (self._clock() - began) * 1000)
                self._make_ready(error)
                continue
            took_ms = (self._clock() - began) * 1000
            self._faults = 0
            self.batches += 1
            self.longest_ms = max(self.longest_ms, took_ms)
            if piece.seen >= size:
                self._size = rules.size_after(size, took_ms)
            self._sleep(self._pause_s)
            self.tally.add(piece.gone)
            return piece

    def _make_ready(self, error: psycopg.Error | exc.SQLAlchemyError) -> None:
        """Make ready for another try of a batch that failed, or raise what says why not."""
        state = sqlstate(error) or ""
        is_locked, is_refused = state in LOCKED, state.startswith(_REFUSED)
        if state == CANCELLED or is_locked or is_refused:
            reason = "locked" if is_locked else reason_of(error) if is_refused else "too slow"
            log.info("prune.slowed", size=self._size, reason=reason)
            if self._size == 1:
                raise TooMuchError(reason, is_locked=is_locked, is_refused=is_refused) from error
            self._size = rules.size_after_timeout(self._size)
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

    def _unlock(self) -> None:
        """Release the lock at once: a session's is held until the server has seen that it is closed."""
        with contextlib.suppress(psycopg.Error, exc.SQLAlchemyError):
            if self._keeper is not None:
                self._keeper.rollback()
                return
            with self._session().begin():
                record.unlock(self._session())

    def _disconnect(self) -> None:
        """Close the session, whatever it is doing; this releases its lock."""
        for connection in (self._connection, self._keeper):
            if connection is not None:
                connection.invalidate()
                connection.close()
        self._connection = self._keeper = None


# A commit need not wait for the disk: what a crash of the server takes back, deletions and counts
# alike, is deleted again.
_LIMITS = sa.text(
    "SELECT set_config('statement_timeout', :statement, true),"
    " set_config('lock_timeout', :lock, true), set_config('synchronous_commit', 'off', true)"
)
