"""Drop old partitions instead of deleting their rows.

    note it ─► detach, beside the traffic where that is possible ─► drop it, and strike the note

The order is the one that foreign keys allow, and that loses nothing that has to stay: partitions of
nodes first, if every node in them belongs to a run that goes; then the nodes, wherever they are, of
the runs of a partition; then that partition. What cannot be dropped is deleted by rows afterwards.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final

import psycopg
from sqlalchemy import exc

from worker.core.policy.retention import LIMIT_MS, LOCK_MS
from worker.db.engine import sqlstate
from worker.db.prune import partitions, record
from worker.db.prune.executions import Executions, Piece
from worker.db.prune.partitions import Leaving, Old, RunsPage
from worker.log import get_logger
from worker.steps.prune.session import Paced, TooMuchError

log = get_logger(__name__)

TRIES: Final = 5
WAIT_MS: Final = 10_000
"""How long a detach beside the traffic waits for transactions that still see the partition."""

# Did not get the lock, or not in time; or the state of things does not allow it.
_BUSY: Final = frozenset({"55P03", "40P01", "57014"})
_NOT_POSSIBLE: Final = frozenset({"23503", "2BP01", "42501", "55000", "0A000", "42P01"})


class Dropper:
    """Drops the old partitions of one prune. `counted` is told of rows that are gone."""

    def __init__(
        self,
        paced: Paced,
        executions: Executions,
        cutoff: dt.datetime,
        *,
        counted: Callable[[Piece], None],
    ) -> None:
        self._paced = paced
        self._executions = executions
        self._cutoff = cutoff
        self._counted = counted

    def finish_earlier(self) -> None:
        """Drop what an earlier prune had detached, or begun to, when it ended."""
        with self._paced.reading() as connection:
            found = partitions.leaving(connection)
        for one in found:
            self._paced.ask()
            if one.is_there and (one.parent is None or one.is_pending):
                self._try_steps(one.name, partial(self._finish, one))
            else:
                self._forget(one.oid)

    def drop(self, old: Sequence[Old]) -> list[str]:
        """Drop what can be dropped; returns the names."""
        dropped = []
        for partition in old:
            self._paced.ask()
            rows = None if partition.obstacle else self._ready(partition)
            if rows is None or not self._try_steps(
                partition.name, partial(self._remove, partition, rows)
            ):
                reason = partition.obstacle or "see the lines before"
                log.info("partition.kept", partition=partition.name, reason=reason)
                continue
            dropped.append(partition.name)
            self._counted(_gone(partition, rows))
            log.info(
                "partition.dropped",
                partition=partition.name,
                rows=rows,
                bytes=partition.octets,
            )
        return dropped

    # -- making ready ------------------------------------------------------------------------------

    def _ready(self, partition: Old) -> int | None:
        """Make sure that a partition holds nothing that is needed; its rows, None where it does."""
        try:
            if partition.kind == "nodes":
                return self._nodes_in(partition)
            return self._runs_in(partition)
        except TooMuchError:
            return None

    def _nodes_in(self, partition: Old) -> int | None:
        self._paced.begin_part()
        after, rows = None, 0
        while True:
            page = self._paced.batch(
                lambda connection, size, after=after: partitions.look_at_nodes(  # type: ignore[misc]
                    connection, self._executions, partition, self._cutoff, after=after, size=size
                ),
                lambda _: {},
            )
            if page.any_stays:
                log.info(
                    "partition.needed",
                    partition=partition.name,
                    reason="it holds nodes of runs that stay",
                )
                return None
            if page.mark is None:
                return rows
            after = page.mark
            rows += page.seen

    def _runs_in(self, partition: Old) -> int | None:
        with self._paced.reading() as connection:
            if partitions.any_kept(connection, self._executions, partition):
                log.info(
                    "partition.needed",
                    partition=partition.name,
                    reason="other tables refer to runs in it",
                )
                return None
        self._paced.begin_part()
        after, rows = None, 0
        while True:
            page: RunsPage = self._paced.batch(
                lambda connection, size, after=after: partitions.delete_nodes_of(  # type: ignore[misc]
                    connection,
                    self._executions,
                    partition,
                    after=after,
                    size=size,
                ),
                lambda page: {"nodes": page.nodes, "bytes": page.octets},
            )
            if page.any_stays:
                log.info(
                    "partition.needed",
                    partition=partition.name,
                    reason="a run in it is locked, or referred to by now",
                )
                return None
            self._counted(Piece(page.seen, 0, page.nodes, page.octets, None))
            if page.mark is None:
                return rows
            after = page.mark
            rows += page.seen

    # -- taking it out -----------------------------------------------------------------------------

    def _remove(self, partition: Old, rows: int) -> None:
        gone = _gone(partition, rows)
        counts = {"runs": gone.runs, "nodes": gone.nodes, "bytes": gone.octets, "partitions": 1}
        with self._paced.reading() as connection:
            partitions.note_leaving(connection, partition.oid, partition.name)
            has_check = partition.kind == "runs" and partitions.is_referred_to(
                connection, self._executions
            )
        if partition.concurrently:
            # A foreign key's check keeps writers of the other table waiting: it has to be short.
            self._detach_beside_traffic(partition, LIMIT_MS if has_check else WAIT_MS)
            self._drop(partition.oid, partition.name, counts)
        else:
            self._drop(partition.oid, partition.name, counts, parent=partition.parent)

    def _detach_beside_traffic(self, partition: Old, statement_ms: int) -> None:
        try:
            self._alone(
                partitions.detach(partition.parent, partition.name, "CONCURRENTLY"), statement_ms
            )
        except (psycopg.Error, exc.SQLAlchemyError) as error:
            if sqlstate(error) not in _BUSY or not self._is_pending(partition.oid):
                raise
            self._alone(partitions.detach(partition.parent, partition.name, "FINALIZE"), WAIT_MS)

    def _finish(self, one: Leaving) -> None:
        if one.parent is not None and one.is_pending:
            self._alone(partitions.detach(one.parent, one.name, "FINALIZE"), WAIT_MS)
        self._drop(one.oid, one.name, {"partitions": 1})
        log.info("partition.dropped", partition=one.name)

    def _drop(
        self, oid: int, name: str, counts: dict[str, int], *, parent: str | None = None
    ) -> None:
        """Drop it, with `parent` out of that, in one short transaction that also counts it."""
        with self._paced.transaction() as connection:
            if parent is not None:
                connection.execute(partitions.detach(parent, name, ""))
            connection.execute(partitions.drop(name))
            partitions.forget_leaving(connection, oid)
            record.add(connection, self._paced.prune_id, counts)

    def _alone(self, statement: object, statement_ms: int) -> None:
        with self._paced.outside_transactions() as connection:
            before = partitions.timeouts(connection)
            try:
                connection.execute(partitions.limits(statement_ms, max(LOCK_MS, statement_ms // 2)))
                connection.execute(statement)  # type: ignore[call-overload]
            finally:
                partitions.restore(connection, before)

    def _is_pending(self, oid: int) -> bool:
        with self._paced.reading() as connection:
            return any(one.oid == oid and one.is_pending for one in partitions.leaving(connection))

    def _forget(self, oid: int) -> None:
        with self._paced.reading() as connection:
            partitions.forget_leaving(connection, oid)

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
                self._paced.pause(attempt)
            else:
                return True
        return False


def _gone(partition: Old, rows: int) -> Piece:
    is_runs = partition.kind == "runs"
    return Piece(rows, rows if is_runs else 0, 0 if is_runs else rows, partition.octets, None)
