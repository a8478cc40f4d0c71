"""The gate's tick: the beat's message that moves publications on."""

from __future__ import annotations

from typing import Any

from celery import Task

from tasks.begin import begin
from worker.app import app
from worker.errors import TransientError
from worker.log import get_logger
from worker.steps.gate_tick import tick_and_report

log = get_logger(__name__)


@app.task(bind=True, name="flowshift.tick_publications", send_events=False)
def tick_publications(self: Task[Any, Any]) -> str:
    """Look at every publication that moves, and do what follows.

    Harmless from two beats at once, twice or late: each publication has one tick at a time, which
    goes by what is committed.
    """
    try:
        return tick_and_report(begin(self))
    except TransientError as error:
        log.warning("tick.postponed", error=str(error))
        return f"the next tick does it: {error}"
