"""Where log lines go, in which form, and which of them."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable, Collection, Mapping, MutableMapping
from typing import Any, Final

import structlog

from worker.core.printable import escape, escape_json
from worker.log.credentials import hide_credentials
from worker.log.streams import underlying

UPGRADE_WAITS: Final = "flowshift.migrations.waits"
"""The logger of what an upgrade waits for: a person who runs one sees it at every level."""

_LEAST: Final = {
    # "Context impl PostgresqlImpl." and the like: our own events say what an upgrade does.
    "alembic": logging.WARNING,
    "tornado.access": logging.WARNING,  # requests that succeeded
    "flower.inspector": logging.ERROR,  # no worker answered, as at every start: health says that
}
"""Loggers of libraries, and the least of theirs that is worth a line (all of it at level debug)."""

_JSON: Final = "flowshift-json"
_CONSOLE: Final = "flowshift-console"
"""The names of our handlers."""

_OF_TASKS: Final = frozenset({"celery.worker.strategy", "celery.app.trace"})
"""Celery's loggers that say of each task that it was received, and that it succeeded."""


class _Hiding:
    """The last processor: renders a line, then hides credentials in all of it.

    In the rendered text nothing is missed, whatever the type of the value that held it.
    """

    def __init__(self, render: Callable[..., str | bytes]) -> None:
        self._render = render

    def __call__(self, logger: Any, name: str, event: MutableMapping[str, Any]) -> str:
        return hide_credentials(str(self._render(logger, name, event)))


def _escape_json(_: Any, __: str, line: str) -> str:
    """Also a line of JSON is read on terminals."""
    return escape_json(line)


def _escape_texts(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Nothing in a value acts on the terminal; a traceback keeps its lines."""
    return {
        key: escape(value, keep_lines=key == "exception") if isinstance(value, str) else value
        for key, value in event.items()
    }


def _without_traceback(
    _: Any, __: str, event: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    """Leave out the traceback in what Celery adds to a line about a task that raised.

    An unexpected error has its traceback as `exception` anyway; an expected one says all in a line.
    """
    data = event.get("data")
    if isinstance(data, dict):
        event["data"] = {key: value for key, value in data.items() if key != "traceback"}
    return event


class _Quiet(logging.Filter):
    """Keeps out that a periodic task was received and succeeded; what it did, it logs itself."""

    def __init__(self, tasks: Collection[str]) -> None:
        super().__init__()
        self._tasks = frozenset(tasks)

    def filter(self, record: logging.LogRecord) -> bool:
        if record.name not in _OF_TASKS or record.levelno > logging.INFO:
            return True
        data = getattr(record, "data", None)
        return not (isinstance(data, dict) and data.get("name") in self._tasks)


def configure(
    *, log_format: str = "auto", level: str = "info", periodic: Collection[str] = ()
) -> None:
    """Set up logging for this process; calling it again replaces the earlier set-up.

    `log_format` is `json`, `console` or `auto` (console on a terminal); `level` a standard name.
    `periodic` names the tasks whose arrival and success are logged at level debug only. Warnings of
    Python's (`warnings.warn`) become lines as well.
    """
    stream = underlying(sys.stderr)
    as_json = log_format == "json" or (log_format == "auto" and not stream.isatty())
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    # Plain tracebacks: others print the values of variables, which may be workflows or secrets.
    last: list[Any] = (
        [
            structlog.processors.format_exc_info,
            _Hiding(structlog.processors.JSONRenderer(ensure_ascii=False)),
            _escape_json,
        ]
        if as_json
        else [
            structlog.processors.format_exc_info,
            _escape_texts,
            _Hiding(
                structlog.dev.ConsoleRenderer(
                    colors=stream.isatty(),
                    exception_formatter=structlog.dev.plain_traceback,
                )
            ),
        ]
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
    handler = logging.StreamHandler(stream)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*shared, structlog.stdlib.ExtraAdder(), _without_traceback],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *last],
        )
    )
    handler.set_name(_JSON if as_json else _CONSOLE)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    is_debug = root.level <= logging.DEBUG
    if periodic and not is_debug:
        handler.addFilter(_Quiet(periodic))
    for name, least in _LEAST.items():
        logging.getLogger(name).setLevel(logging.NOTSET if is_debug else max(least, root.level))
    logging.captureWarnings(True)


def configure_early(environ: Mapping[str, str] = os.environ) -> None:
    """Set up logging before the settings are read, so that also their refusal has its form."""
    log_format = environ.get("FLOWSHIFT_LOG_FORMAT", "auto")
    configure(log_format=log_format if log_format in ("json", "console") else "auto")


def is_configured() -> bool:
    """Whether `configure` was called."""
    return any(handler.name in (_JSON, _CONSOLE) for handler in logging.getLogger().handlers)


def writes_json() -> bool:
    """Whether log lines are JSON, so that everything else that is written should be too."""
    return any(handler.name == _JSON for handler in logging.getLogger().handlers)


def get_logger(name: str) -> structlog.stdlib.BoundLogger:
    """A logger whose lines carry `name`."""
    logger: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger(name)
    return logger
