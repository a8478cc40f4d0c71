"""What a batch is, whatever is done in it: claimed, kept alive, held, ended once (design section 6)."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TypeVar

import msgspec
import psycopg
import sqlalchemy as sa

from worker.core.states import RunKind
from worker.db import batches, control
from worker.db.batches import Batch
from worker.db.engine import is_about_a_row, is_transient, map_database_errors
from worker.errors import StaleError
from worker.log import get_logger
from worker.steps.lease import renewed
from worker.steps.report import Report

log = get_logger(__name__)

Prepared = TypeVar("Prepared")
Item = TypeVar("Item")
Row = TypeVar("Row")
DatabaseError = psycopg.Error | sa.exc.SQLAlchemyError


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
            with engine.begin() as connection:
                if not batches.hold(connection, batch):
                    raise StaleError(f"batch {number} of run {run_id} was done meanwhile")
                report = save(connection, batch, prepared)
                committing = time.monotonic()
            commit_ms = (time.monotonic() - committing) * 1000
    return msgspec.structs.replace(report, attempt=batch.attempt, commit_ms=commit_ms)


def write_halving(
    connection: sa.Connection,
    items: Sequence[Item],
    write: Callable[[Sequence[Item]], list[Row]],
    refused: Callable[[Item, DatabaseError], Row],
) -> list[Row]:
    """Write items together; one that the database refuses is found by halving, the rest written.

    Raises:
        psycopg.Error, sqlalchemy.exc.SQLAlchemyError: the fault is no item's.
    """
    if not items:
        return []
    try:
        with connection.begin_nested():
            return write(items)
    except (psycopg.Error, sa.exc.SQLAlchemyError) as error:
        if is_transient(error) or not is_about_a_row(error):
            raise
        if len(items) == 1:
            return [refused(items[0], error)]
    log.warning("batch.halved", bots=len(items))
    middle = len(items) // 2
    return [
        row
        for half in (items[:middle], items[middle:])
        for row in write_halving(connection, half, write, refused)
    ]
