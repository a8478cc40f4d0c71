"""The gate's tick: the beat's message that moves publications on."""

from __future__ import annotations

from typing import Any

from celery import Task

from tasks.begin import begin
from worker.app import app
from worker.errors import TransientError
from worker.log import get_logger
from worker.queue.limits import time_limit
from worker.steps.publication.look import look
from worker.steps.publication.tick import said_of, tick

log = get_logger(__name__)


@app.task(bind=True, name="flowshift.tick_publications", send_events=False)
def tick_publications(self: Task[Any, Any]) -> str:
    """Look at every publication that moves, and do what follows.

    Harmless from two beats at once, twice or late: each publication has one tick at a time, which
    goes by what is committed.
    """
    process = begin(self)
    current, check = process.runtime, process.throttle.check
    fresh_s = current.settings.gate_s / 2
    try:
        with time_limit(current.settings.time_limit_s):
            return said_of(tick(current, process.queue.messages, look, check, fresh_s=fresh_s))
    except TransientError as error:
        log.warning("tick.postponed", error=str(error))
        return f"the next tick does it: {error}"
