"""Write many rows at once; a row that the database refuses is found by halving, the rest is written."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TypeVar, cast

import psycopg
import sqlalchemy as sa

from worker.db.bulk import driver
from worker.db.engine import is_about_a_row, is_transient
from worker.db.interference import constraints_immediate
from worker.log import get_logger

log = get_logger(__name__)

Item = TypeVar("Item")
Row = TypeVar("Row")
DatabaseError = psycopg.Error | sa.exc.SQLAlchemyError
ERRORS = (psycopg.Error, sa.exc.SQLAlchemyError)


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
) -> list[Row]:
    """Write items together; one that the database refuses is found by halving, the rest written.

    Refused is also what it would refuse at COMMIT. `verify` looks at what was written, with every
    constraint satisfied, and raises NotKeptError for items that must not stay: the others are
    written again without them.

    Raises:
        psycopg.Error, sqlalchemy.exc.SQLAlchemyError: the fault is no item's (`may_halve`).
    """
    if not items:
        return []

    def again(some: Sequence[Item]) -> list[Row]:
        return write_halving(connection, some, write, refused, verify=verify, may_halve=may_halve)

    try:
        with savepoint(connection):
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
def savepoint(connection: sa.Connection, *, keep: bool = True) -> Iterator[None]:
    """Keep what the block does, unless it fails; raises what the block raised.

    Unless `keep`, all of it is taken back, with its locks.
    """
    begun = connection.begin_nested()
    try:
        yield
    except BaseException:
        if not driver(connection).closed:  # if it is, rolling back would only hide why
            begun.rollback()
        raise
    if keep:
        begun.commit()
    else:
        begun.rollback()
