"""What a long-running process writes besides its log: `print`, warnings, tracebacks, last words.

All of it becomes lines of the log, in forked children too. Only what bypasses Python (a library in C
that writes to the file itself) does not.
"""

from __future__ import annotations

import os
import sys
import threading
from pathlib import Path
from types import TracebackType

from worker.core.printable import escape
from worker.log.credentials import hide_credentials
from worker.log.setup import configure_early, get_logger, is_configured, writes_json
from worker.log.streams import Captured, underlying

log = get_logger(__name__)


def begin_process() -> None:
    """Set up the log of a long-running process before anything else is loaded."""
    if not is_configured():
        configure_early()
    capture()


def capture() -> None:
    """Log what this process prints, and what ends it; safe to repeat.

    Where the log is JSON, Celery's banner and its hints for people at a terminal, which it writes to
    the original standard output, are left out.
    """
    if not isinstance(sys.stdout, Captured):
        sys.stdout = Captured(sys.stdout, _log_output)
    if not isinstance(sys.stderr, Captured):
        sys.stderr = Captured(sys.stderr, _log_error)
    if writes_json():
        sys.__stdout__ = Path(os.devnull).open("w")  # type: ignore[misc]  # noqa: SIM115
    sys.excepthook = _log_crash
    threading.excepthook = _log_crash_of_thread
    sys.unraisablehook = _log_ignored


def refuse(error: Exception) -> None:
    """Report why this process does not start: in its log if that is JSON, else as a sentence."""
    if not is_configured():
        configure_early()
    if writes_json():
        log.critical("start.refused", error=str(error))
    else:
        said = escape(hide_credentials(str(error)), keep_lines=True)
        underlying(sys.stderr).write(f"flowshift: {said}\n")


def _log_output(text: str) -> None:
    log.info("output.printed", text=text, stream="stdout")


def _log_error(text: str) -> None:
    log.warning("output.printed", text=text, stream="stderr")


def _log_crash(
    kind: type[BaseException], error: BaseException, trace: TracebackType | None
) -> None:
    if issubclass(kind, KeyboardInterrupt):
        log.warning("process.interrupted")
    else:
        log.critical("process.crashed", exc_info=(kind, error, trace))


def _log_crash_of_thread(given: threading.ExceptHookArgs) -> None:
    if given.exc_type is SystemExit or given.exc_value is None:
        return
    name = given.thread.name if given.thread else ""
    log.error(
        "thread.crashed",
        thread=name,
        exc_info=(given.exc_type, given.exc_value, given.exc_traceback),
    )


def _log_ignored(given: sys.UnraisableHookArgs) -> None:
    log.warning("error.ignored", reason=given.err_msg, error=repr(given.exc_value))
