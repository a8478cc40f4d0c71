"""What a batch is, whatever is done in it: claimed, kept alive, held, ended once (design section 6)."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TypeVar, cast

import msgspec
import psycopg
import sqlalchemy as sa

from worker.core.policy.states import RunKind
from worker.db import batches, control
from worker.db.batches import Batch
from worker.db.bulk import driver
from worker.db.engine import is_about_a_row, is_transient, map_database_errors
from worker.db.interference import constraints_immediate
from worker.errors import StaleError
from worker.log import get_logger
from worker.steps.batch.lease import renewed
from worker.steps.batch.tally import Report

log = get_logger(__name__)

Prepared = TypeVar("Prepared")
Item = TypeVar("Item")
Row = TypeVar("Row")
DatabaseError = psycopg.Error | sa.exc.SQLAlchemyError
ERRORS = (psycopg.Error, sa.exc.SQLAlchemyError)


def do_batch(
    engine: sa.Engine,
    run_id: int,
    number: int,
    *,
    kind: RunKind,
    worker: str,
    lease_s: int,
    target_ms: int,
    claimed: Callable[[Batch], None],
    prepare: Callable[[Batch], Prepared],
    save: Callable[[sa.Connection, Batch, Prepared], Report],
) -> Report:
    """Do a batch, once, however often and wherever it is delivered.

    `prepare` works while nothing is locked, `save` in the one transaction that ends the batch. A
    batch that would last longer than `target_ms` (0: any time) is cut when it is claimed; then
    `claimed` is called, before the work begins.

    Raises:
        StaleError: it is done, in another worker's hands, or its run does not run.
        NotYetError: the run's limits let no further batch begin yet; nothing was done.
        TransientError: the database was away or busy; nothing was done.
    """
    with map_database_errors():
        with engine.begin() as connection:
            batch = control.claim(
                connection,
                run_id,
                number,
                kind=kind,
                worker=worker,
                lease_s=lease_s,
                target_ms=target_ms,
            )
            if batch is None:
                raise StaleError(f"batch {number} of run {run_id} has nothing left to do here")
        claimed(batch)
        with renewed(engine, batch, lease_s):
            prepared = prepare(batch)
            with engine.begin() as connection, _known_if_lost(connection):
                if not batches.hold(connection, batch):
                    raise StaleError(f"batch {number} of run {run_id} was done meanwhile")
                report = save(connection, batch, prepared)
                committing = time.monotonic()
            commit_ms = (time.monotonic() - committing) * 1000
    return msgspec.structs.replace(report, attempt=batch.attempt, commit_ms=commit_ms)


class NotKeptError(Exception):
    """The database took what was written without an error, and did not keep it as it was.

    `rows` says so for each item concerned, by its place among those written.
    """

    def __init__(self, rows: Mapping[int, object]) -> None:
        super().__init__(f"{len(rows)} bots")
        self.rows = rows


def is_refusal(error: DatabaseError) -> bool:
    """Whether an error may be one row's fault, so that the others can be written without it."""
    return is_about_a_row(error) and not is_transient(error)


def write_halving(
    connection: sa.Connection,
    items: Sequence[Item],
    write: Callable[[Sequence[Item]], list[Row]],
    refused: Callable[[Item, DatabaseError], Row],
    *,
    verify: Callable[[Sequence[Item], list[Row]], None] = lambda _, __: None,
    may_halve: Callable[[DatabaseError], bool] = is_refusal,
    keep: bool = True,
) -> list[Row]:
    """Write items together; one that the database refuses is found by halving, the rest written.

    Refused is also what it would refuse at COMMIT. `verify` looks at what was written, with every
    constraint satisfied, and raises NotKeptError for items that must not stay: the others are
    written again without them. Unless `keep`, all of it is taken back, with its locks; then the
    rows returned say what would have been.

    Raises:
        psycopg.Error, sqlalchemy.exc.SQLAlchemyError: the fault is no item's (`may_halve`).
    """
    if not items:
        return []

    def again(some: Sequence[Item]) -> list[Row]:
        return write_halving(
            connection, some, write, refused, verify=verify, may_halve=may_halve, keep=keep
        )

    try:
        with _savepoint(connection, keep=keep):
            rows = write(items)
            with constraints_immediate(connection):
                verify(items, rows)
        return rows
    except NotKeptError as found:
        rest = [item for place, item in enumerate(items) if place not in found.rows]
        return [*cast("Iterable[Row]", found.rows.values()), *again(rest)]
    except ERRORS as error:
        if not may_halve(error):
            raise
        if len(items) == 1:
            return [refused(items[0], error)]
    log.warning("batch.halved", bots=len(items))
    middle = len(items) // 2
    return again(items[:middle]) + again(items[middle:])


@contextmanager
def _savepoint(connection: sa.Connection, *, keep: bool) -> Iterator[None]:
    """Keep what the block does, unless it fails or `keep` is false; raises what the block raised."""
    savepoint = connection.begin_nested()
    try:
        yield
    except BaseException:
        if not driver(connection).closed:  # if it is, rolling back would only hide why
            savepoint.rollback()
        raise
    if keep:
        savepoint.commit()
    else:
        savepoint.rollback()


@contextmanager
def _known_if_lost(connection: sa.Connection) -> Iterator[None]:
    """Let SQLAlchemy know of a connection that the driver lost.

    Else it would roll back on it, and raise the failure of that instead of what happened.
    """
    try:
        yield
    except BaseException:
        if driver(connection).closed:
            connection.invalidate()
        raise
