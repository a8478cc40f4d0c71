"""Drop old partitions instead of deleting their rows.

    note it ─► detach, beside the traffic where that is possible ─► drop it, and strike the note

The order is the one that foreign keys allow, and that loses nothing that has to stay: partitions of
nodes first, if every node in them belongs to a run that goes; then the nodes, wherever they are, of
the runs of a partition; then that partition. What cannot be dropped is deleted by rows afterwards.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final

import psycopg
import sqlalchemy as sa
from sqlalchemy import exc

from worker.core.policy.prune import LIMIT_MS
from worker.db import sqlstate as states
from worker.db.engine import sqlstate
from worker.db.prune import partitions, record
from worker.db.prune.executions import Executions
from worker.db.prune.partitions import Leaving, Old
from worker.db.prune.piece import Piece
from worker.log import get_logger
from worker.steps.prune.errors import TooMuchError
from worker.steps.prune.session import Session

log = get_logger(__name__)

TRIES: Final = 5
WAIT_MS: Final = 10_000
"""How long a detach beside the traffic waits for transactions that still see the partition."""

# Did not get the lock, or not in time; or the state of things does not allow it.
_BUSY: Final = states.LOCKED | {states.CANCELLED}
_NOT_POSSIBLE: Final = frozenset(
    {
        states.FOREIGN_KEY_VIOLATION,
        states.DEPENDENTS_EXIST,
        states.INSUFFICIENT_PRIVILEGE,
        states.NOT_IN_THIS_STATE,
        states.NOT_SUPPORTED,
        states.NO_SUCH_TABLE,
    }
)


class Dropper:
    """Drops the old partitions of one prune."""

    def __init__(self, session: Session, executions: Executions) -> None:
        self._session = session
        self._executions = executions

    def finish_earlier(self) -> None:
        """Drop what an earlier prune had detached, or begun to, when it ended."""
        with self._session.reading() as connection:
            found = partitions.leaving(connection)
        for one in found:
            self._session.ask()
            if one.is_there and (one.parent is None or one.is_pending):
                self._try_steps(one.name, partial(self._finish, one))
            else:
                with self._session.reading() as connection:
                    partitions.forget_leaving(connection, one.oid)

    def drop(self, old: Sequence[Old]) -> list[str]:
        """Drop what can be dropped; returns the names."""
        return [partition.name for partition in old if self._drop_one(partition)]

    def _drop_one(self, partition: Old) -> bool:
        self._session.ask()
        rows = None if partition.obstacle else self._make_ready(partition)
        if rows is None or not self._try_steps(
            partition.name, partial(self._remove, partition, rows)
        ):
            reason = partition.obstacle or "see the lines before"
            log.info("partition.kept", partition=partition.name, reason=reason)
            return False
        self._session.tally.add(_gone(partition, rows))
        log.info("partition.dropped", partition=partition.name, rows=rows, bytes=partition.octets)
        return True

    # -- making ready ------------------------------------------------------------------------------

    def _make_ready(self, partition: Old) -> int | None:
        """Make sure that a partition holds nothing that is needed; its rows, None if it does."""
        if partition.kind == "nodes":
            return self._through(
                partition, partitions.look_at_nodes, "it holds nodes of runs that stay"
            )
        with self._session.reading() as connection:
            is_kept = partitions.any_kept(connection, self._executions, partition)
        if is_kept:
            _say_needed(partition, "other tables refer to runs in it")
            return None
        return self._through(
            partition, partitions.delete_nodes_of, "a run in it is locked, or referred to by now"
        )

    def _through(self, partition: Old, work: Callable[..., Piece], reason: str) -> int | None:
        """Do `work` page by page; the number of rows, None if one of them has to stay."""

        def page(connection: sa.Connection, after: Any, size: int) -> Piece:
            return work(connection, self._executions, partition, after=after, size=size)

        rows = 0
        try:
            for piece in self._session.pages(page):
                if piece.any_stays:
                    _say_needed(partition, reason)
                    return None
                rows += piece.seen
        except TooMuchError:
            return None
        return rows

    # -- taking it out -----------------------------------------------------------------------------

    def _remove(self, partition: Old, rows: int) -> None:
        gone = _gone(partition, rows)
        with self._session.reading() as connection:
            partitions.note_leaving(connection, partition.oid, partition.name)
            has_check = partition.kind == "runs" and partitions.is_referred_to(
                connection, self._executions
            )
        if partition.concurrently:
            # A foreign key's check keeps writers of the other table waiting: it has to be short.
            self._detach_beside_traffic(partition, LIMIT_MS if has_check else WAIT_MS)
            self._drop(partition.oid, partition.name, gone)
        else:
            self._drop(partition.oid, partition.name, gone, parent=partition.parent)

    def _detach_beside_traffic(self, partition: Old, statement_ms: int) -> None:
        parent, name = partition.parent, partition.name
        try:
            self._session.alone(partitions.detach(parent, name, "CONCURRENTLY"), statement_ms)
        except (psycopg.Error, exc.SQLAlchemyError) as error:
            if sqlstate(error) not in _BUSY or not self._is_pending(partition.oid):
                raise
            self._session.alone(partitions.detach(parent, name, "FINALIZE"), WAIT_MS)

    def _finish(self, one: Leaving) -> None:
        if one.parent is not None and one.is_pending:
            self._session.alone(partitions.detach(one.parent, one.name, "FINALIZE"), WAIT_MS)
        self._drop(one.oid, one.name, {"partitions": 1})
        log.info("partition.dropped", partition=one.name)

    def _drop(
        self, oid: int, name: str, counts: dict[str, int], *, parent: str | None = None
    ) -> None:
        """Drop it, with `parent` out of that, in one short transaction that also counts it."""
        with self._session.transaction() as connection:
            if parent is not None:
                connection.execute(partitions.detach(parent, name, ""))
            connection.execute(partitions.drop(name))
            partitions.forget_leaving(connection, oid)
            record.add(connection, self._session.prune_id, counts)

    def _is_pending(self, oid: int) -> bool:
        with self._session.reading() as connection:
            return any(one.oid == oid and one.is_pending for one in partitions.leaving(connection))

    def _try_steps(self, name: str, steps: Callable[[], None]) -> bool:
        """Whether `steps` went through, after some tries where the table is busy."""
        for attempt in range(1, TRIES + 1):
            try:
                steps()
            except (psycopg.Error, exc.SQLAlchemyError) as error:
                state = sqlstate(error)
                if state not in _BUSY | _NOT_POSSIBLE:
                    raise
                log.info("partition.waited", partition=name, attempt=attempt, sqlstate=state)
                if state in _NOT_POSSIBLE:
                    return False
                self._session.pause(attempt)
            else:
                return True
        return False


def _say_needed(partition: Old, reason: str) -> None:
    log.info("partition.needed", partition=partition.name, reason=reason)


def _gone(partition: Old, rows: int) -> dict[str, int]:
    """What is gone with a partition."""
    return {partition.kind: rows, "bytes": partition.octets, "partitions": 1}
