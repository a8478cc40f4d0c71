"""What migrations do to tables that are in use: briefly, repeatably, and on record.

Each step commits by itself, so that no lock outlives it, and each looks at what is there first, so
that an upgrade that was interrupted can simply be run again. What was created here, as opposed to
found, is recorded in `flowshift.created_objects`; only that is ever dropped.
"""

from __future__ import annotations

import random
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Literal

import sqlalchemy as sa
from alembic import op
from sqlalchemy import exc

from migrations.waits import building, say_waited
from worker.db.engine import sqlstate
from worker.db.schema.adoption import duplicates
from worker.db.schema.catalog import FoundTable, Index, find_table, qualified, quoted
from worker.db.sqlstate import DEADLOCK, DEPENDENTS_EXIST, LOCK_NOT_AVAILABLE
from worker.errors import TransientError, UsageError
from worker.log import get_logger

log = get_logger("flowshift.migrations")

# While a statement of ours waits for a lock on a table, the platform's queue behind it. So it waits
# briefly, gives way, and comes back.
LOCK_TIMEOUT_MS = 2_000
LOCK_TRIES = 8
LOCK_PAUSE_S = 0.5


Object = Literal["table", "column", "index"]


def is_printed() -> bool:
    """Whether this migration is written down as SQL, not carried out: what it makes is not there then."""
    return op.get_context().as_sql


def catalog() -> sa.Connection:
    """The connection to look at the database with; what changes it goes through `op.execute`."""
    reader: sa.Connection = op.get_context().opts["catalog"] if is_printed() else op.get_bind()
    return reader


def remark(text: str) -> None:
    """Put a comment into the SQL where the migration is printed."""
    if is_printed():
        op.get_context().impl.static_output(f"-- {on_one_line(text)}")


def on_one_line(text: str) -> str:
    """A comment that no name in it can end."""
    return re.sub(r"[\x00-\x1f\x7f\x85\u2028\u2029]", " ", text)


def commit() -> None:
    """End the transaction of this migration here and begin the next one."""
    with op.get_context().autocommit_block():
        pass


def with_lock(what: str, change: Callable[[], None]) -> None:
    """Carry out a change that needs a table's lock and commit it; give way and retry if it waits.

    Raises:
        TransientError: the table was busy every time.
    """
    if is_printed():
        op.execute(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT_MS}ms'")
        change()
        commit()
        return
    connection = op.get_bind()
    for attempt in range(1, LOCK_TRIES + 1):
        try:
            with connection.begin_nested():
                connection.execute(_SET_LOCAL_LOCK_TIMEOUT, {"value": f"{LOCK_TIMEOUT_MS}ms"})
                change()
        except exc.OperationalError as error:
            if sqlstate(error) not in {LOCK_NOT_AVAILABLE, DEADLOCK}:
                raise
            say_waited(what, attempt, LOCK_TRIES)
            time.sleep(LOCK_PAUSE_S * attempt * random.uniform(0.5, 1.5))  # noqa: S311 - no secret
        else:
            commit()
            return
    raise TransientError(f"{what} was in use through {LOCK_TRIES} tries; run the upgrade again")


def create_table(name: str, sql: str, indexes: tuple[Index, ...], *, schema: str) -> None:
    """Create a table with its indexes, on record, in one step."""

    def create() -> None:
        op.execute(sa.text(sql))
        for index in indexes:
            op.execute(sa.text(_create_index(index, index.name, schema, name)))
        record("table", qualified(schema, name))

    with_lock(name, create)
    log.info("table.created", table=name)


def build_index(found: FoundTable, index: Index) -> None:
    """Create an index on a table in use without holding up its writers.

    Raises:
        UsageError: the rows do not allow it (they changed since they were looked at).
    """
    name = _free_name(found, index)
    # On record before it exists: a build that is interrupted leaves an invalid index behind.
    record("index", qualified(found.schema, name))
    commit()
    try:
        with building(name, found.name), _outside_transactions():
            remark(_BUILT_BESIDE.format(index=qualified(found.schema, name)))
            op.execute(
                sa.text(_create_index(index, name, found.schema, found.name, beside_traffic=True))
            )
    except exc.IntegrityError as error:
        _drop_index(found.schema, name)
        forget("index", qualified(found.schema, name))
        commit()
        listed = duplicates(catalog(), found, index)
        if not listed:
            raise TransientError(
                f"{found.name} had duplicates for a moment; run it again"
            ) from error
        raise UsageError(listed) from error


def build_own_index(table: str, index: Index) -> None:
    """Create an index on a table of flowshift's own beside its traffic; again if a build failed.

    It is not put on record: it goes with its table.
    """
    found = find_table(catalog(), table, "flowshift")
    if found is None and not is_printed():
        raise UsageError(f"flowshift.{table} is not there")
    if found is not None:
        clear_invalid(found, index)
    commit()
    if found and any(there.name == index.name and there.valid for there in found.indexes):
        return
    with building(index.name, table), _outside_transactions():
        remark(_BUILT_BESIDE.format(index=qualified("flowshift", index.name)))
        op.execute(
            sa.text(_create_index(index, index.name, "flowshift", table, beside_traffic=True))
        )


def drop_own_index(index: str) -> None:
    """Drop an index of flowshift's own, if it is there."""
    _drop_index("flowshift", index)
    log.info("index.dropped", index=index)


def clear_invalid(found: FoundTable, index: Index) -> None:
    """Drop what a failed build left under a name of `index`, once no session is building it."""
    if not _invalid(found, index):
        return

    def wait_for_builders() -> None:
        # A build holds this lock until it is over; it blocks only other builders.
        table = qualified(found.schema, found.name)
        op.execute(sa.text(f"LOCK TABLE {table} IN SHARE UPDATE EXCLUSIVE MODE"))

    with_lock(found.name, wait_for_builders)
    again = find_table(catalog(), found.name, found.schema)
    for name in _invalid(again, index) if again else ():
        _drop_index(found.schema, name)
        log.info("index.dropped", index=name, table=found.name, reason="invalid")


def drop_created_index(found: FoundTable, index: Index) -> None:
    """Drop an index that is on record, unless something else has come to depend on it."""
    for name in _names(index):
        if not is_recorded("index", qualified(found.schema, name)):
            continue
        try:
            _drop_index(found.schema, name)
        except exc.DBAPIError as error:
            if sqlstate(error) != DEPENDENTS_EXIST:
                raise
            log.info("index.kept", index=name, reason="something depends on it")
            continue
        forget("index", qualified(found.schema, name))
        commit()
        log.info("index.dropped", index=name, table=found.name)


def drop_created_column(found: FoundTable, column: str, *, unused: str) -> None:
    """Drop a column that is on record, unless a row holds a value for which `unused` is false."""
    table = qualified(found.schema, found.name)
    name = f"{table}.{quoted(column)}"
    if column not in found.columns or not is_recorded("column", name):
        return

    def drop() -> None:
        op.get_bind().execute(sa.text(f"ALTER TABLE {table} DROP COLUMN {quoted(column)}"))
        forget("column", name)

    holds = f"SELECT EXISTS (SELECT FROM {table} WHERE NOT ({unused}))"
    _drop_unless("column", f"{found.name}.{column}", table, holds, drop)


def drop_created_table(table: str) -> None:
    """Drop a table that is on record, unless it holds rows."""
    found = find_table(op.get_bind(), table)
    if found is None:
        return
    name = qualified(found.schema, found.name)
    if not is_recorded("table", name):
        log.info("table.kept", table=table, reason="it was there before")
        return

    def drop() -> None:
        op.get_bind().execute(sa.text(f"DROP TABLE {name}"))
        forget("table", name)

    _drop_unless("table", table, name, f"SELECT EXISTS (SELECT FROM {name})", drop)


def record(kind: Object, name: str) -> None:
    """Remember that an object is ours to drop."""
    op.execute(_RECORD.bindparams(kind=kind, name=name))


def forget(kind: Object, name: str) -> None:
    """Strike an object off the record."""
    op.execute(_FORGET.bindparams(kind=kind, name=name))


def is_recorded(kind: Object, name: str) -> bool:
    """Whether an object was created here, rather than found."""
    return catalog().execute(_IS_RECORDED, {"kind": kind, "name": name}).scalar_one() is True


def _drop_unless(
    kind: Object, shown: str, table: str, holds: str, drop: Callable[[], None]
) -> None:
    """Drop after a look without a lock, and a second one under a lock that blocks writes."""
    connection = op.get_bind()
    kept = bool(connection.execute(sa.text(holds)).scalar_one())
    commit()
    outcome = ["holds data"] if kept else []

    def look_again_and_drop() -> None:
        connection.execute(sa.text(f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE"))
        if connection.execute(sa.text(holds)).scalar_one():
            outcome.append("holds data")
            return
        drop()

    if not outcome:
        try:
            with_lock(shown, look_again_and_drop)
        except exc.DBAPIError as error:
            if sqlstate(error) != DEPENDENTS_EXIST:
                raise
            outcome.append("something depends on it")
    event = f"{kind}.kept" if outcome else f"{kind}.dropped"
    log.info(event, **{kind: shown}, **({"reason": outcome[0]} if outcome else {}))


def _invalid(found: FoundTable, index: Index) -> tuple[str, ...]:
    invalid = {present.name for present in found.indexes if not present.valid}
    return tuple(name for name in _names(index) if name in invalid)


def _free_name(found: FoundTable, index: Index) -> str:
    """The name of the index, or a second one where the platform uses it for something else."""
    first, second = _names(index)
    if is_printed() and first in _invalid(found, index):
        return first  # it is dropped by then
    taken = catalog().execute(_IS_TAKEN, {"name": qualified(found.schema, first)})
    return second if taken.scalar_one() else first


def _names(index: Index) -> tuple[str, str]:
    return index.name, f"flowshift_{index.name}"


def _drop_index(schema: str, name: str) -> None:
    with _outside_transactions():
        op.execute(sa.text(f"DROP INDEX CONCURRENTLY IF EXISTS {qualified(schema, name)}"))


@contextmanager
def _outside_transactions() -> Iterator[None]:
    with op.get_context().autocommit_block():
        yield


def _create_index(
    index: Index, name: str, schema: str, table: str, *, beside_traffic: bool = False
) -> str:
    unique = "UNIQUE " if index.unique else ""
    concurrently = "CONCURRENTLY " if beside_traffic else ""
    columns = ", ".join(quoted(column) for column in index.columns)
    where = f" WHERE {index.where}" if index.where else ""
    return (
        f"CREATE {unique}INDEX {concurrently}{quoted(name)}"
        f" ON {qualified(schema, table)} ({columns}){where}"
    )


_BUILT_BESIDE = (
    "outside of a transaction, beside the traffic; if it fails: DROP INDEX CONCURRENTLY IF EXISTS {index};"
    " then print the rest again"
)
_SET_LOCAL_LOCK_TIMEOUT = sa.text("SELECT set_config('lock_timeout', :value, true)")
_RECORD = sa.text(
    "INSERT INTO flowshift.created_objects (kind, name) VALUES (:kind, :name)"
    " ON CONFLICT DO NOTHING"
)
_FORGET = sa.text("DELETE FROM flowshift.created_objects WHERE kind = :kind AND name = :name")
_IS_RECORDED = sa.text(
    "SELECT EXISTS (SELECT FROM flowshift.created_objects WHERE kind = :kind AND name = :name)"
)
_IS_TAKEN = sa.text("SELECT to_regclass(:name) IS NOT NULL")
