"""Reading how the database is: one cheap query for all checks, and the user's own.

Nothing here needs a right beyond connecting. What a plain role may not see comes back as hidden;
a member of `pg_monitor` sees all.
"""

from __future__ import annotations

import datetime as dt
from typing import Any, cast
from zoneinfo import ZoneInfo

import psycopg
import sqlalchemy as sa

from worker.core.policy.health import Answer, Readings, Vacuum
from worker.db.engine import sqlstate

WRITTEN = (
    "bots",
    "bot_workflow_versions",
    "workflow_execution_runs",
    "workflow_node_executions",
    "flowshift.batches",
    "flowshift.ledger",
)
"""The tables whose vacuum matters: those that runs write much to."""

# Application names are shown to every role. A vacuum holds this one lock, and so do others; only
# a vacuum reports its progress. Who waits for a row holds a lock on its table already.
_READ = sa.text(
    """
    WITH locks AS MATERIALIZED (
        SELECT l.pid, l.relation, l.mode, l.granted FROM pg_locks AS l
        WHERE l.database IS NULL OR l.database = 0
           OR l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
    ), sessions AS MATERIALIZED (
        SELECT pid, application_name = :ours AS is_ours, state, backend_type, xact_start
        FROM pg_stat_activity
        WHERE datname = current_database() AND pid <> pg_backend_pid()
    ), written AS MATERIALIZED (
        SELECT to_regclass(name) AS oid, name FROM unnest(CAST(:written AS text[])) AS name
    )
    SELECT
        extract(epoch FROM clock_timestamp())::float8 AS now_s,
        replicas.lag_s, replicas.hidden AS replicas_hidden,
        current_setting('archive_mode') <> 'off' AS archiving,
        archiver.last_archived_wal AS archived_wal,
        coalesce(archiver.last_failed_time > coalesce(archiver.last_archived_time, '-infinity'),
                 false) AS archive_failing,
        CASE WHEN NOT pg_is_in_recovery()
             THEN pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0')::int8 END AS wal_position,
        pg_size_bytes(current_setting('wal_segment_size')) AS wal_segment_bytes,
        (SELECT array_agg(ARRAY[written.name,
                    extract(epoch FROM clock_timestamp() - sessions.xact_start)::text])
         FROM pg_stat_progress_vacuum AS vacuum
         JOIN locks ON locks.pid = vacuum.pid AND locks.granted
              AND locks.mode = 'ShareUpdateExclusiveLock'
         JOIN written ON written.oid = locks.relation
         LEFT JOIN sessions ON sessions.pid = vacuum.pid) AS vacuums,
        (SELECT count(*) FROM sessions
         WHERE NOT is_ours AND state = 'active' AND backend_type = 'client backend') AS active,
        (SELECT count(*) FROM sessions
         WHERE NOT is_ours AND backend_type IS NULL) AS sessions_hidden,
        (SELECT count(DISTINCT waiting.pid) FROM locks AS waiting
         JOIN sessions ON sessions.pid = waiting.pid AND NOT sessions.is_ours
         WHERE NOT waiting.granted AND EXISTS (
            SELECT FROM locks AS held
            WHERE held.pid = waiting.pid AND held.relation = to_regclass('bots'))) AS lock_waits
    FROM pg_stat_archiver AS archiver, (
        SELECT max(coalesce(extract(epoch FROM replay_lag), 0))
                   FILTER (WHERE state IN ('streaming', 'catchup'))::float8 AS lag_s,
               count(*) FILTER (WHERE state IS NULL) AS hidden
        FROM pg_stat_replication) AS replicas
    """
)


def read(connection: sa.Connection, *, application_name: str, time_zone: str) -> Readings:
    """What every check looks at, at one moment, without the user's query and the commits.

    Raises:
        psycopg.Error, sqlalchemy.exc.SQLAlchemyError: it could not be read.
    """
    row = connection.execute(_READ, {"ours": application_name, "written": list(WRITTEN)}).one()
    # The database's clock: a worker's own may be wrong.
    local = dt.datetime.fromtimestamp(row.now_s, ZoneInfo(time_zone))
    return Readings(
        replica_lag_s=row.lag_s or 0.0,
        replicas_hidden=row.replicas_hidden,
        archiving=row.archiving,
        archive_failing=row.archive_failing,
        archived_wal=row.archived_wal,
        wal_position=row.wal_position,
        wal_segment_bytes=row.wal_segment_bytes,
        vacuums=tuple(
            Vacuum(table, None if age is None else float(age)) for table, age in row.vacuums or ()
        ),
        active_sessions=row.active,
        sessions_hidden=row.sessions_hidden,
        lock_waits=row.lock_waits,
        weekday=local.isoweekday(),
        minute=local.hour * 60 + local.minute,
    )


def ask(engine: sa.Engine, query: str, *, timeout_ms: int) -> Answer:
    """What the user's query says, in a read-only transaction with a time-out of its own.

    One statement that returns a row: `go`, `wait`, `stop` or a boolean (true is go), and perhaps a
    reason beside it. Never raises but for a connection that fails: an error is part of the answer.

    Raises:
        sqlalchemy.exc.SQLAlchemyError: there was no connection to ask on.
    """
    with engine.connect() as connection:
        # The driver's own: SQLAlchemy asks for no results in binary.
        connection.exec_driver_sql("SET TRANSACTION READ ONLY")
        connection.exec_driver_sql(f"SET LOCAL statement_timeout = {timeout_ms:d}")
        driver = connection.connection.driver_connection
        try:
            # In binary, and so by the protocol that takes one statement only: none that ends the
            # read-only transaction can follow.
            row = (
                cast("psycopg.Connection[Any]", driver)
                .execute(query.encode(), binary=True)
                .fetchone()
            )
        except psycopg.Error as error:
            said = error.diag.message_primary or str(error).strip() or type(error).__name__
            return Answer(error=f"the health query failed ({sqlstate(error) or '–'}): {said}")
        finally:
            connection.rollback()
    if not row:
        return Answer(error="the health query returned no row")
    reason = row[1] if len(row) > 1 and isinstance(row[1], str) else ""
    value = row[0] if isinstance(row[0], str | bool) else None
    return Answer(value, reason[:500])
