"""What a command works with: servers that answer and a database that is ready."""

from __future__ import annotations

import getpass
import socket
from collections.abc import Iterator
from contextlib import contextmanager

from migrations import known
from worker import log, runtime, settings
from worker.errors import ConfigError
from worker.queue.environment import ignore
from worker.runtime import Runtime
from worker.servers import connect
from worker.steps.revision import revision_of


def configure_logging(*, verbose: bool = False) -> None:
    """Commands talk to a person: only what went wrong is logged, unless asked for more."""
    values = settings.load()
    level = "info" if verbose else "warning"
    log.configure(log_format=values.log_format, level=level)


@contextmanager
def opened(*, needs_redis: bool = True, needs_tables: bool = True) -> Iterator[Runtime]:
    """The runtime of this command, its servers checked; closed at the end.

    A database that was started for us gets its tables here; a platform's own never changes without
    `flowshift db upgrade`.

    Raises:
        ConfigError: a server cannot be used, or the tables are not there.
    """
    current = runtime.configure()
    ignore()
    try:
        connect.check_database(current.servers.database_url, current.settings)
        if needs_redis:
            connect.check_redis_and_queue(current.servers, current.settings)
        if needs_tables:
            _have_tables(current)
        yield current
    finally:
        runtime.shutdown()


def _have_tables(current: Runtime) -> None:
    revision = revision_of(current.engine)
    if revision == known.head():
        return
    if not current.settings.database_url:
        from migrations.upgrade import upgrade  # noqa: PLC0415  (loads Alembic)

        upgrade(current.engine)
        return
    found = f"is at revision {revision}" if revision else "has no tables of flowshift's yet"
    raise ConfigError(f"the database {found}: run `flowshift db upgrade` first")


def person() -> str:
    """Who runs this command, for the audit trail."""
    try:
        name = getpass.getuser()
    except (KeyError, OSError):  # an id without a name, as in many containers
        name = "unknown"
    return f"{name}@{socket.gethostname()}"
