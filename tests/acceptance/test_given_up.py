"""A batch that is given up as a whole, as Flower and the logs see it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from celery import Celery
from celery.events.state import State

from tests.fleet import Fleet
from tests.live import Environment, running
from worker.core.policy.budget import Limits

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(120)]

BATCH = "run-2-batch-1"


def test_a_batch_that_is_given_up_is_failure_with_its_reason_and_no_traceback(
    fleet: Fleet, environment: Environment, sender: Celery, tmp_path: Path
) -> None:
    fleet.add_many(1)
    fleet.run(validate="none")
    run_id = fleet.planned(kind="validate", provider="live", budget=Limits(requests=9)).run_id
    state: Any = State()
    with sender.connection_for_read() as connection:
        receiver = sender.events.Receiver(connection)

        def keep(event: Any) -> None:
            state.event(event)
            if event["type"] in ("task-failed", "task-succeeded"):
                receiver.should_stop = event["uuid"] == BATCH

        receiver.handlers["*"] = keep
        events = receiver.itercapture(limit=None, timeout=60, wakeup=False)
        next(events)  # it listens
        with running(environment, tmp_path, processes=1, with_beat=False):
            ids = {"run_id": run_id, "batch": 1}
            sender.send_task("flowshift.validate_batch", kwargs=ids, task_id=BATCH)
            for _ in events:
                pass

    task = state.tasks[BATCH]
    reason = (
        f"FLOWSHIFT_PROVIDERS: run {run_id} asks models: "
        "every worker needs the file that says which"
    )
    assert (task.state, task.exception) == ("FAILURE", f"given up: ConfigError: {reason}")
    assert task.traceback is None
    # Its run is over by then.
    assert fleet.get(run_id).state == "completed_with_failures"
    logs = "".join(path.read_text() for path in (tmp_path / "log").glob("w0*.log"))
    assert "batch.faulted" in logs
    assert "Traceback" not in logs
