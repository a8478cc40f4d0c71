"""Commands that wait for a run sweep now and then: where they run, there may be no beat."""

from __future__ import annotations

import pytest

from tests.fleet import Fleet
from tests.queues import TestQueue
from worker.errors import TransientError
from worker.steps import sweep
from worker.steps.sweep import Sweeper


class Clock:
    """A clock that stands still until it is set."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_waiting_command_sends_lost_messages_again_plans_and_closes_runs(fleet: Fleet) -> None:
    fleet.add_many(2)
    lost, unplanned, over = (
        fleet.planned(batch_size=1, allow_overlap=True),
        fleet.start(allow_overlap=True),
        fleet.planned(allow_overlap=True),
    )
    fleet.take(lost.run_id, 1)
    fleet.convert(over.run_id, 1)
    fleet.execute(
        "UPDATE flowshift.batches SET enqueued_at = enqueued_at - interval '1 min', "
        "finished_at = finished_at - interval '1 min'"
    )
    fleet.execute("UPDATE flowshift.runs SET moved_at = moved_at - interval '1 min'")
    queue = TestQueue()
    clock = Clock()
    sweeper = Sweeper(fleet.current, queue, actor="somebody", clock=clock)
    clock.now += fleet.current.settings.sweep_s - 1
    sweeper.tend()
    assert queue.messages == []

    clock.now += 1
    sweeper.tend()
    sweeper.tend()

    assert queue.messages == [
        f"plan {unplanned.run_id}",
        f"convert {lost.run_id}/1",
        f"convert {lost.run_id}/2",
    ]
    assert fleet.get(over.run_id).state == "completed"
    query = "SELECT actor, action FROM flowshift.audit WHERE actor = 'somebody' ORDER BY action"
    assert [row.action for row in fleet.rows(query)] == [
        "batch.resent",
        "run.closed",
        "run.completed",
        "run.finishing",
        "run.replanned",
    ]


def test_a_waiting_command_goes_on_waiting_while_the_database_is_away(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: object, **__: object) -> None:
        raise TransientError

    monkeypatch.setattr(sweep, "sweep_once", away)
    clock = Clock()
    sweeper = Sweeper(fleet.current, TestQueue(), actor="somebody", clock=clock)
    clock.now += 60
    sweeper.tend()
