"""Batches whose bots other sessions have locked: they wait in the queue, without a fault."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import pytest

from tests.fleet import Fleet
from tests.queues import TestQueue
from tests.way_back import count_live, go_out
from worker.core.policy.batch_ref import BatchRef
from worker.db.publication.rolling import Which
from worker.settings import Settings
from worker.steps.batch.delivery import do_batches
from worker.steps.batch.lifecycle import FAULTS_MAX
from worker.steps.batch.retry import LOCKED_ATTEMPTS
from worker.steps.publication.detached import detach


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """No wait for a lock takes long."""
    return msgspec.structs.replace(settings, lock_timeout_ms=100)


def convert(fleet: Fleet) -> int:
    """Plan a migration; returns its run."""
    fleet.add_many(2)
    return fleet.planned().run_id


def publish(fleet: Fleet) -> int:
    """Begin a wave; returns its run."""
    go_out(fleet, 2, "all", out=0)
    return int(fleet.rows("SELECT run_id FROM flowshift.waves")[0][0])


def roll_back(fleet: Fleet) -> int:
    """Begin a rollback; returns its run."""
    go_out(fleet, 2, "all")
    [begun] = detach(fleet.current, Which(), digest=None, actor="test", reason=None)
    return begun.run_id or 0


def count_drafts(fleet: Fleet) -> int:
    return len(fleet.drafts())


@pytest.mark.parametrize(
    ("begin", "count", "done"),
    [(convert, count_drafts, 2), (publish, count_live, 2), (roll_back, count_live, 0)],
)
@pytest.mark.parametrize("lock", ["SELECT FROM bots FOR UPDATE", "LOCK TABLE bots IN SHARE MODE"])
def test_a_batch_whose_bots_are_all_locked_comes_again_however_often_and_is_done_at_last(
    fleet: Fleet, begin: Callable[[Fleet], int], count: Callable[[Fleet], int], done: int, lock: str
) -> None:
    ref = BatchRef(begin(fleet), 1)
    before = count(fleet)
    queue, pauses = TestQueue(), list[float]()
    process = fleet.process(queue, sleep=pauses.append)
    with fleet.engine.connect() as person:
        person.exec_driver_sql(lock)
        for _ in range(FAULTS_MAX + 2):
            said = do_batches(ref, process)
            assert said.startswith("postponed: ")
    query = "SELECT state, faults, losses FROM flowshift.batches WHERE run_id = :r"
    [row] = fleet.rows(query, r=ref.run_id)
    assert tuple(row) == ("pending", 0, 0)
    assert len(pauses) == (LOCKED_ATTEMPTS - 1) * (FAULTS_MAX + 2)
    assert queue.messages[-1].endswith(f" {ref.run_id}/1")
    assert count(fleet) == before

    do_batches(ref, process)
    assert count(fleet) == done
    assert fleet.progress(ref.run_id).state == "completed"


@pytest.mark.parametrize("begin", [convert, publish, roll_back])
def test_bots_that_a_batch_leaves_are_enqueued_at_its_end(
    fleet: Fleet, begin: Callable[[Fleet], int]
) -> None:
    run_id = begin(fleet)
    queue = TestQueue()
    with fleet.engine.connect() as person:
        person.exec_driver_sql(
            "SELECT FROM bots WHERE bot_id = (SELECT min(bot_id) FROM bots) FOR UPDATE"
        )
        do_batches(BatchRef(run_id, 1), fleet.process(queue))
    assert [message.partition(" ")[2] for message in queue.messages] == [f"{run_id}/2"]
