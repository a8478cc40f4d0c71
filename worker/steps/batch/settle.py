"""Lock bots that were decided on, look whether anything changed since, and write what still holds.

    a chunk ─► lock what no one else has locked ─► changed since? ─► write ─► next chunk
                      │ locked                         │ changed
                      └──────────► looked at once more ◄┘ then: a batch of their own

The platform's saves wait for what is locked here, until the commit. So nothing waits for a lock while
it holds others, nothing is executed but a few quick bots that changed, and after `HELD_S` whatever is
not written yet is left to a batch of its own.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import Final

import msgspec
import sqlalchemy as sa

from worker.db import bots, interference
from worker.db.bots import Lock
from worker.db.engine import sqlstate
from worker.db.ledger import LedgerRow
from worker.db.runs import RunOptions
from worker.db.sqlstate import LOCK_NOT_AVAILABLE
from worker.steps.batch.chunks import chunks, ready_of
from worker.steps.batch.decide import Decided, Ready
from worker.steps.batch.halving import (
    ERRORS,
    DatabaseError,
    NotKeptError,
    is_refusal,
    savepoint,
    write_halving,
)
from worker.steps.batch.trial import Trial
from worker.steps.batch.write_drafts import Left, Written, expected, not_kept, refused, write_drafts

HELD_S: Final = 0.5
"""How long rows may stay locked before what is not written yet is left to another batch."""

WAIT_MS: Final = 50
"""Longest wait for a lock while others are held: for example, for a draft that is being inserted."""

MOST_WAITS: Final = 12
"""Such waits that may time out in one batch before it stops waiting: as many as find one bot by halving."""

LATE_BOTS: Final = 10
"""Bots that changed since they were decided on and are decided on again under the lock, at most."""

QUICK_S: Final = 0.05
"""They must have taken less than this to decide on."""

_UNTRIED: Final = "not tried on the database: another transaction has its row locked"
_HIDDEN: Final = (
    "row level security shows the bot and does not let it be locked: give the role a policy of bots "
    "for UPDATE (flowshift db check says which)"
)

Redo = Callable[[sa.Connection, Sequence[str]], list[Decided]]


class Settled(msgspec.Struct):
    """What became of a batch's bots.

    `left` have no outcome yet; `through` is the last bot that was looked at, None if all were.
    """

    rows: list[LedgerRow]
    left: list[str]
    through: str | None = None


class Settler:
    """Writes what was decided about the bots of one batch, in its transaction.

    `redo` decides on bots again, from what is committed. A `dry_run` writes anyway and takes
    it back, chunk by chunk, so that it locks no row for longer than a chunk takes.
    """

    def __init__(
        self,
        connection: sa.Connection,
        options: RunOptions,
        trial: Trial | None,
        redo: Redo,
        *,
        dry_run: bool,
    ) -> None:
        self._connection = connection
        self._options = options
        self._trial = trial
        self._redo = redo
        self._dry_run = dry_run
        self._watched = interference.is_watched(connection)
        self._until = time.monotonic() + HELD_S
        self._waits = 0
        self._rows: list[LedgerRow] = []
        self._left: dict[str, Decided] = {}

    def settle(self, decided: Sequence[Decided]) -> Settled:
        """Write what still holds, in key order, and say what is left.

        At least one bot has an outcome then, where one exists.

        Raises:
            psycopg.Error, sqlalchemy.exc.SQLAlchemyError: the database was unavailable, or every bot was
                locked for longer than `lock_timeout`.
        """
        through = self._settle_chunks(decided)
        if self._left:
            self._settle_late()
        return Settled(self._rows, list(self._left), through)

    def _settle_chunks(self, decided: Sequence[Decided]) -> str | None:
        """Write chunk by chunk; returns the last bot that was looked at if time ran out."""
        through: str | None = None
        with bots.lock_timeout(self._connection, WAIT_MS):
            for chunk in chunks(decided, self._options):
                if self._rows and self._is_late() and not self._dry_run:
                    return through
                try:
                    self._settle(chunk, Lock.SKIP)
                except ERRORS as error:
                    if not self._rows or not _is_locked(error):
                        raise
                    return through
                through = chunk[-1].bot_id
        return None

    def _settle_late(self) -> None:
        """Look again at bots that were locked, or changed since they were decided on."""
        while self._left and not self._rows:
            if not self._settle_first():
                return
        quick = [one.bot_id for one in self._left.values() if one.took_s <= QUICK_S][:LATE_BOTS]
        if quick and not self._is_late():
            with bots.lock_timeout(self._connection, WAIT_MS):
                self._settle_again(quick, Lock.SKIP)

    def _settle_first(self) -> bool:
        """Settle one bot while nothing else is locked, waiting as long as we may; False: timed out."""
        first = next(iter(self._left.values()))
        lock = Lock.SKIP if self._dry_run else Lock.WAIT
        self._settle([first], lock)
        if first.bot_id in self._left:
            self._settle_again([first.bot_id], lock)
        self._until = time.monotonic() + HELD_S
        return first.bot_id not in self._left

    def _settle_again(self, bot_ids: Sequence[str], lock: Lock) -> None:
        """Decide on bots again from what is committed, and settle them."""
        before = {bot_id: self._left.pop(bot_id) for bot_id in bot_ids}
        again = self._redo(self._connection, bot_ids)
        try:
            self._settle(again, lock)
        except ERRORS as error:
            if lock is Lock.WAIT or not _is_locked(error):
                raise
            self._left |= before

    def _settle(self, some: Sequence[Decided], lock: Lock) -> None:
        by_id = {one.bot_id: one for one in some}
        for one in some:
            self._left.pop(one.bot_id, None)
        rows = self._written([one for one in some if isinstance(one.what, Ready)], lock)
        rows += self._unwritten([one for one in some if isinstance(one.what, LedgerRow)])
        for row in rows:
            if isinstance(row, LedgerRow):
                self._rows.append(row)
            else:
                self._left[row.bot_id] = by_id[row.bot_id]

    def _unwritten(self, some: Sequence[Decided]) -> list[LedgerRow | Left]:
        """Bots that get no draft: what was decided, where it still holds."""
        now = bots.look(self._connection, [one.bot_id for one in some], None)
        return [
            one.what
            if isinstance(one.what, LedgerRow) and now[one.bot_id] == one.basis
            else Left(one.bot_id, "changed")
            for one in some
            if one.bot_id in now
        ]

    def _written(self, some: Sequence[Decided], lock: Lock) -> list[LedgerRow | Left]:
        written: list[Written] = []

        def write(these: Sequence[Decided]) -> list[LedgerRow | Left]:
            ready, rows = self._lock(these, lock)
            result = write_drafts(self._connection, ready, self._options, self._trial, lock)
            written[:] = [result]
            return rows + result.rows

        def verify(these: Sequence[Decided], _: list[LedgerRow | Left]) -> None:
            lost = not_kept(
                self._connection,
                ready_of(these),
                written[0],
                self._trial,
                is_watched=self._watched,
            )
            if lost:
                raise NotKeptError(
                    {n: lost[one.bot_id] for n, one in enumerate(these) if one.bot_id in lost}
                )

        with savepoint(self._connection, keep=False) if self._dry_run else nullcontext():
            rows = write_halving(
                self._connection,
                some,
                write,
                _refused,
                verify=verify,
                may_halve=lambda error: self._may_halve(error, lock),
            )
        return self._instead_of_trying(some, rows) if self._dry_run else rows

    def _lock(
        self, some: Sequence[Decided], lock: Lock
    ) -> tuple[list[Ready], list[LedgerRow | Left]]:
        """Lock bots: those of which what was decided still holds, and why the others are left.

        Bots that do not exist any more are in neither.
        """
        now = bots.look(self._connection, [one.bot_id for one in some], lock)
        locked = bots.look(
            self._connection, [one.bot_id for one in some if one.bot_id not in now], None
        )
        hidden = interference.bots_not_lockable(self._connection, list(locked))
        same, left = [], list[LedgerRow | Left]()
        for one in some:
            basis = now.get(one.bot_id, locked.get(one.bot_id))
            if basis is None:
                continue
            if basis != one.basis:
                left.append(Left(one.bot_id, "changed"))
            elif one.bot_id in hidden:
                left.append(LedgerRow(one.bot_id, "failed", "internal_error", _HIDDEN))
            elif one.bot_id in locked:
                left.append(Left(one.bot_id, "locked"))
            elif isinstance(one.what, Ready):
                same.append(one.what)
        return same, left

    def _instead_of_trying(
        self, some: Sequence[Decided], rows: list[LedgerRow | Left]
    ) -> list[LedgerRow | Left]:
        """What a dry run says of bots that others have locked: it waits for no lock."""
        locked = {row.bot_id for row in rows if isinstance(row, Left) and row.why == "locked"}
        ready = ready_of(one for one in some if one.bot_id in locked)
        return [row for row in rows if row.bot_id not in locked] + [
            msgspec.structs.replace(row, message=row.message or _UNTRIED)
            if isinstance(row, LedgerRow)
            else row
            for row in expected(self._connection, ready, self._options)
        ]

    def _may_halve(self, error: DatabaseError, lock: Lock) -> bool:
        if not _is_locked(error):
            return is_refusal(error)
        self._waits += 1
        return lock is Lock.SKIP and not self._rows and self._waits <= MOST_WAITS

    def _is_late(self) -> bool:
        return time.monotonic() > self._until


def _refused(one: Decided, error: DatabaseError) -> LedgerRow | Left:
    return Left(one.bot_id, "locked") if _is_locked(error) else refused(one.bot_id, error)


def _is_locked(error: BaseException) -> bool:
    """Whether waiting for a lock timed out."""
    return sqlstate(error) == LOCK_NOT_AVAILABLE
