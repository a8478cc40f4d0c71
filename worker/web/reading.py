"""The engine for what only reads: transactions that cannot write, short statements, a small pool."""

from __future__ import annotations

import sqlalchemy as sa

from worker.db.engine import create_engine, database_url
from worker.runtime import Runtime


def reading_engine(current: Runtime) -> sa.Engine:
    """An engine whose transactions PostgreSQL holds to reading; nothing connects yet.

    No more threads than its pool has connections use it: none waits for one (`app.THREADS`).
    """
    engine = create_engine(
        database_url(current.servers.database_url),
        lock_timeout_ms=current.settings.lock_timeout_ms,
        statement_timeout_ms=current.settings.web_statement_timeout_ms,
        application_name="flowshift serve",
    )
    return engine.execution_options(postgresql_readonly=True)
