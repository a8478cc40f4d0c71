"""Every metric at one moment: one read-only snapshot, part by part, each statement with a time limit.

begin (repeatable read, read only) ─► totals ─► processes ─► … ─► throttle, traffic ─► end
                                        └ one that fails, or takes too long, is named; the rest go on
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Final

import sqlalchemy as sa

from worker.core.metrics.model import Sample
from worker.db.engine import map_database_errors, reason_of
from worker.errors import FlowshiftError
from worker.log import get_logger
from worker.settings import Settings
from worker.steps.metrics import (
    http,
    notifications,
    processes,
    prune,
    publications,
    queue,
    throttle,
    totals,
    traffic,
)

log = get_logger(__name__)

STATEMENT_MS: Final = 2_000
"""A statement that takes longer is given up, and with it its part."""

MOST_S: Final = 5.0
"""After so long no further part is begun: a scrape ends before Prometheus gives it up."""

Part = Callable[[sa.Connection, Settings], Iterable[Sample]]

READERS: Final[Mapping[str, Part]] = {
    "totals": totals.samples,
    "queue": queue.samples,
    "processes": processes.samples,
    "prune": prune.samples,
    "publications": publications.samples,
    "notifications": notifications.samples,
    "http": http.samples,
    "throttle": throttle.samples,
    "traffic": traffic.samples,
}
"""By the part's name, in the order in which they are read."""


def read(
    engine: sa.Engine, settings: Settings, *, clock: Callable[[], float] = time.monotonic
) -> list[Sample]:
    """Read every metric that committed rows say; never raises for what cannot be read.

    With the database away `flowshift_up` is 0 and nothing else of it is there; a part that cannot be read
    is missing, and `flowshift_scrape_failed` says so.
    """
    began = clock()
    try:
        with map_database_errors(), _snapshot(engine).begin() as connection:
            read_at = _begin(connection)
            found = list(_read_parts(connection, settings, lambda: clock() - began))
    except (FlowshiftError, sa.exc.SQLAlchemyError) as error:
        log.warning("metrics.unread", error=reason_of(error))
        return [Sample("flowshift_up", 0.0), _took(clock() - began)]
    return [
        Sample("flowshift_up", 1.0),
        Sample("flowshift_read_timestamp_seconds", read_at),
        *found,
        _took(clock() - began),
    ]


def _took(duration_s: float) -> Sample:
    return Sample("flowshift_scrape_duration_seconds", duration_s)


def _snapshot(engine: sa.Engine) -> sa.Engine:
    return engine.execution_options(isolation_level="REPEATABLE READ")


def _begin(connection: sa.Connection) -> float:
    """Make the transaction read-only with our time limit; the database's time, since 1970."""
    connection.exec_driver_sql("SET TRANSACTION READ ONLY")
    connection.exec_driver_sql(f"SET LOCAL statement_timeout = {STATEMENT_MS:d}")
    return float(connection.execute(_NOW).scalar_one())


_NOW: Final = sa.text("SELECT extract(epoch FROM now())::float8")


def _read_parts(
    connection: sa.Connection, settings: Settings, elapsed_s: Callable[[], float]
) -> Iterator[Sample]:
    for name, part in READERS.items():
        found = None if elapsed_s() > MOST_S else _read_part(name, part, connection, settings)
        yield Sample("flowshift_scrape_failed", float(found is None), (name,))
        yield from found or ()


def _read_part(
    name: str, part: Part, connection: sa.Connection, settings: Settings
) -> list[Sample] | None:
    """The samples of a part; None if it could not be read, for a reason that is only its own.

    Raises:
        SQLAlchemyError: the connection was lost.
    """
    try:
        with connection.begin_nested():
            return list(part(connection, settings))
    except (FlowshiftError, sa.exc.SQLAlchemyError) as error:
        if connection.invalidated or connection.closed:
            raise
        log.warning("metrics.part_unread", part=name, error=reason_of(error))
        return None
