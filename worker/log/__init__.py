"""Logging: structlog, `noun.past_tense` events, ids and counts as keys, never workflow bodies.

JSON where standard error is no terminal (or `FLOWSHIFT_LOG_FORMAT=json`), readable otherwise. The
records of libraries (Celery, Alembic, SQLAlchemy) go through the same chain, and so does all else
that a long-running process writes (`capture`), so that one parser reads its whole output.
"""

from worker.log.capture import begin_process, capture, refuse
from worker.log.credentials import hide_credentials
from worker.log.setup import (
    UPGRADE_WAITS,
    configure,
    configure_early,
    get_logger,
    writes_json,
)

__all__ = [
    "UPGRADE_WAITS",
    "begin_process",
    "capture",
    "configure",
    "configure_early",
    "get_logger",
    "hide_credentials",
    "refuse",
    "writes_json",
]
