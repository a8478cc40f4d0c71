"""The task that sends what people are to be told."""

from __future__ import annotations

import structlog

from worker.app import app
from worker.errors import TransientError
from worker.log import get_logger
from worker.runtime import runtime
from worker.steps.notify.send import send_due

log = get_logger(__name__)


@app.task(name="flowshift.send_notifications", send_events=False)
def send_notifications() -> str:
    """Send what is due, for half a minute at most; the next message goes on.

    Harmless from two beats at once, twice or late: each channel has one sender at a time, and what is
    due is asked of PostgreSQL.
    """
    structlog.contextvars.clear_contextvars()
    structlog.contextvars.bind_contextvars(task="flowshift.send_notifications")
    try:
        return str(send_due(runtime()))
    except TransientError as error:
        log.warning("notification.postponed", error=str(error))
        return f"the next one does it: {error}"
