"""Use cases take their queue as an argument: what they enqueue, and what holds while it is away."""

from __future__ import annotations

import pytest

from tests.fleet import Fleet
from tests.queues import TestQueue
from worker.cli.follow import from_redis
from worker.errors import TransientError
from worker.steps import control
from worker.steps.request import Request
from worker.steps.start import start_run
from worker.steps.tuning import Tuning


@pytest.fixture
def queue() -> TestQueue:
    return TestQueue()


def state_in_redis(fleet: Fleet, run_id: int) -> str | None:
    current = fleet.current
    progress = from_redis(current.redis, current.settings.namespace, run_id)
    return None if progress is None else progress.state


def test_a_started_run_is_recorded_and_its_planning_enqueued_again_on_repeat(
    fleet: Fleet, queue: TestQueue
) -> None:
    fleet.add_many(2)
    for _ in range(2):
        run = start_run(fleet.current, queue, Request(), request_id="once", requested_by="kim")
    assert (run.run_id, run.state) == (1, "planning")
    assert queue.messages == ["plan 1", "plan 1"]


def test_a_run_is_recorded_though_the_queue_is_away_and_the_error_names_it(
    fleet: Fleet, queue: TestQueue
) -> None:
    fleet.add_many(2)
    queue.answering = False
    with pytest.raises(TransientError, match="run 1 is recorded, but the queue is unavailable"):
        start_run(fleet.current, queue, Request(), requested_by="kim")
    assert fleet.get(1).state == "planning"


def test_a_resumed_run_has_its_batches_enqueued_and_its_state_shown(
    fleet: Fleet, queue: TestQueue
) -> None:
    fleet.add_many(2)
    run_id = fleet.planned(batch_size=1).run_id
    assert control.pause_run(fleet.current, run_id, actor="kim", reason=None)
    assert state_in_redis(fleet, run_id) == "paused"

    assert control.resume_run(fleet.current, queue, run_id, actor="kim", reason=None)
    assert queue.messages == ["convert 1/1", "convert 1/2"]
    assert state_in_redis(fleet, run_id) == "running"

    assert not control.resume_run(fleet.current, queue, run_id, actor="kim", reason=None)
    assert control.cancel_run(fleet.current, run_id, actor="kim", reason=None)
    assert state_in_redis(fleet, run_id) == "cancelled"


def test_a_resumed_run_continues_though_the_queue_is_away(fleet: Fleet, queue: TestQueue) -> None:
    fleet.add_many(2)
    run_id = fleet.planned(batch_size=1).run_id
    control.pause_run(fleet.current, run_id, actor="kim", reason=None)
    queue.answering = False
    assert control.resume_run(fleet.current, queue, run_id, actor="kim", reason=None)
    assert fleet.get(run_id).state == "running"
    assert queue.failed_last

    queue.answering = True  # what could not be enqueued is not lost
    control.resume_run(fleet.current, queue, run_id, actor="kim", reason=None)
    assert queue.messages == ["convert 1/1", "convert 1/2"]


def test_a_run_whose_last_batch_ended_before_it_was_paused_is_finished_by_its_resuming(
    fleet: Fleet, queue: TestQueue
) -> None:
    fleet.add_many(1)
    run_id = fleet.planned().run_id
    fleet.convert(run_id, 1)
    control.pause_run(fleet.current, run_id, actor="kim", reason=None)
    control.resume_run(fleet.current, queue, run_id, actor="kim", reason=None)
    assert fleet.get(run_id).state == "completed"
    assert queue.messages == []


def test_a_larger_window_is_filled_when_it_is_set(fleet: Fleet, queue: TestQueue) -> None:
    fleet.add_many(3)
    run_id = fleet.planned(batch_size=1).run_id
    actor = "kim"
    control.tune_run(fleet.current, queue, run_id, Tuning(batch_window=1), actor=actor)
    assert queue.messages == ["convert 1/1"]
    changed = control.tune_run(fleet.current, queue, run_id, Tuning(batch_window=3), actor=actor)
    assert changed == {"batch_window": [1, 3]}
    assert queue.messages == ["convert 1/1", "convert 1/2", "convert 1/3"]
