"""The processes of ours, by their heartbeats."""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa

from worker.core.policy.processes import Process
from worker.core.policy.run_kinds import QueueName, queue_of
from worker.db import heartbeats, runs
from worker.db.engine import create_engine, database_url, map_database_errors
from worker.db.rights import Publisher, publisher

TIMEOUT_S: Final = 5
"""How long a probe waits, for each of: the connection, a lock, the answer."""


def read_processes(engine: sa.Engine, *, host: str | None = None) -> list[Process]:
    """The processes of the last day, or those of one host; the newest heartbeat first by kind.

    Raises:
        TransientError: the database was unavailable.
    """
    with map_database_errors(), engine.connect() as connection:
        return heartbeats.processes(connection, host=host)


def probe_processes(url: str, *, host: str | None = None) -> list[Process]:
    """As `read_processes`, on a connection of its own that is waited for briefly.

    Raises:
        TransientError: the database was unavailable.
    """
    given = database_url(url)
    if "connect_timeout" not in given.query:
        given = given.update_query_dict({"connect_timeout": str(TIMEOUT_S)})
    engine = create_engine(
        given,
        lock_timeout_ms=TIMEOUT_S * 1000,
        statement_timeout_ms=TIMEOUT_S * 1000,
        application_name="flowshift health",
    )
    try:
        return read_processes(engine, host=host)
    finally:
        engine.dispose()


def any_worker_works(engine: sa.Engine, queue: QueueName, *, within_s: float) -> bool:
    """Whether a worker was seen to take messages of a queue within the last `within_s` seconds.

    Raises:
        TransientError: the database was unavailable.
    """
    with map_database_errors(), engine.connect() as connection:
        return heartbeats.workers_alive(connection, queue, within_s=within_s) > 0


def queue_of_run(engine: sa.Engine, run_id: int) -> QueueName:
    """The queue that the batches of a run wait in; any worker's if there is no such run.

    Raises:
        TransientError: the database was unavailable.
    """
    with map_database_errors(), engine.connect() as connection:
        return queue_of(runs.kind_of(connection, run_id) or "convert")


def publisher_here(engine: sa.Engine) -> Publisher:
    """The role that this process is connected as, and whether it may publish.

    Raises:
        TransientError: the database was unavailable.
    """
    with map_database_errors(), engine.connect() as connection:
        return publisher(connection)
