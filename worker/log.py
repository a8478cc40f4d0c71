"""Logging: structlog, `noun.past_tense` events, ids and counts as keys, never workflow bodies.

JSON where standard error is no terminal (or `FLOWSHIFT_LOG_FORMAT=json`), readable otherwise. The
records of libraries (Celery, Alembic, SQLAlchemy) go through the same chain, so that one parser
reads a whole worker's output.
"""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import MutableMapping
from typing import Any

import structlog

_CREDENTIALS = re.compile(
    r"(?P<scheme>[a-z][a-z0-9+.-]*://)[^\s/@'\"]*:[^\s/@'\"]*@", re.IGNORECASE
)


def hide_credentials(text: str) -> str:
    """Replace the user and password of every URL in `text`.

    >>> hide_credentials("no answer from redis://me:secret@cache:6379/0")
    'no answer from redis://***@cache:6379/0'
    """
    return _CREDENTIALS.sub(r"\g<scheme>***@", text)


def _hide_credentials(
    _logger: object, _name: str, event: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    """The processor that keeps secrets out of every line, whoever wrote it."""
    for key, value in event.items():
        if isinstance(value, str) and "://" in value:
            event[key] = hide_credentials(value)
    return event


def configure(*, log_format: str = "auto", level: str = "info") -> None:
    """Set up logging for this process; calling it again replaces the earlier set-up.

    `log_format` is `json`, `console` or `auto` (console on a terminal); `level` a standard name.
    """
    as_json = log_format == "json" or (log_format == "auto" and not sys.stderr.isatty())
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    last: list[Any] = (
        [
            structlog.processors.format_exc_info,
            _hide_credentials,
            structlog.processors.JSONRenderer(),
        ]
        if as_json
        else [_hide_credentials, structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())]
    )
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*shared, structlog.stdlib.ExtraAdder()],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *last],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())


def get_logger(name: str) -> structlog.stdlib.BoundLogger:
    """A logger whose lines carry `name`."""
    logger: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger(name)
    return logger
