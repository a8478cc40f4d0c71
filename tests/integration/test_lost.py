"""What the parent of a pool's children records when one of them dies."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tasks import lost
from tests.fleet import Fleet
from worker.core.policy.batch_ref import BatchRef
from worker.db import batches
from worker.errors import TransientError
from worker.steps import lost_worker
from worker.steps.lost_worker import AT_ONCE_S, LostWorkers


@pytest.fixture(autouse=True)
def topped_up(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """The runs whose next batches were enqueued; there is no worker to take them."""
    run_ids: list[int] = []
    monkeypatch.setattr(lost, "_lost_workers", LostWorkers())
    monkeypatch.setattr(lost_worker, "top_up", lambda *given, **_: run_ids.append(given[2]))
    yield run_ids
    fleet.engine.dispose()  # the runtime has let go of it


def claim(fleet: Fleet, run_id: int, number: int) -> None:
    """Claim a batch as the process `w`."""
    with fleet.engine.begin() as connection:
        assert batches.claim(connection, BatchRef(run_id, number), worker="w", lease_s=60)


def rows(fleet: Fleet) -> list[tuple[Any, ...]]:
    """State, losses, faults and what is known of every batch."""
    query = "SELECT state, losses, faults, error FROM flowshift.batches ORDER BY number"
    return [tuple(row) for row in fleet.rows(query)]


def report(error: str, **brought: object) -> None:
    """A child named `w` died."""
    lost.report("w", error, hostname="host", brought=brought)


def test_a_death_frees_what_was_claimed_though_the_message_named_another_batch(
    fleet: Fleet, topped_up: list[int]
) -> None:
    fleet.add_many(3)
    run = fleet.planned(batch_size=1)
    fleet.convert(run.run_id, 1)
    claim(fleet, run.run_id, 2)
    report("Worker exited prematurely: signal 11 (SIGSEGV) Job: 1.", run_id=run.run_id, batch=1)
    assert rows(fleet) == [
        ("done", 0, 0, None),
        ("pending", 1, 0, "it was killed by signal 11 (SIGSEGV)"),
        ("pending", 0, 0, None),
    ]
    assert topped_up == [run.run_id]


def test_deaths_before_the_claim_count_nothing_against_the_batch(
    fleet: Fleet, topped_up: list[int]
) -> None:
    fleet.add_many(1)
    run = fleet.planned()
    for _ in range(20):
        report("Worker exited prematurely: exitcode 3 Job: 1.", run_id=run.run_id, batch=1)
    assert rows(fleet) == [("pending", 0, 0, None)]
    assert topped_up == [run.run_id] * 20
    reasons = {
        row.reason
        for row in fleet.rows("SELECT * FROM flowshift.audit WHERE action = 'batch.resent'")
    }
    assert reasons == {
        "a worker process died before it claimed this batch: it ended by itself with code 3"
    }
    fleet.convert(run.run_id, 1)
    assert rows(fleet)[0][0] == "done"


def test_a_death_before_the_claim_has_the_batch_sent_again_at_once_but_not_without_end(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]
    monkeypatch.setattr(lost, "_lost_workers", LostWorkers(clock=lambda: now[0]))
    fleet.add_many(1)
    run = fleet.planned()

    def sent_again() -> bool:
        fleet.execute("UPDATE flowshift.batches SET enqueued_at = now()")
        report("Worker exited prematurely: signal 9 (SIGKILL) Job: 1.", run_id=1, batch=1)
        return fleet.rows("SELECT enqueued_at FROM flowshift.batches")[0][0] is None

    assert run.run_id == 1
    assert [sent_again() for _ in range(5)] == [True, True, True, False, False]
    now[0] += AT_ONCE_S + 1
    assert sent_again()


def test_a_death_leaves_a_batch_alone_that_another_worker_has(fleet: Fleet) -> None:
    fleet.add_many(1)
    run = fleet.planned()
    with fleet.engine.begin() as connection:
        assert batches.claim(connection, BatchRef(run.run_id, 1), worker="another", lease_s=60)
    report("Worker exited prematurely: exitcode 3 Job: 1.", run_id=run.run_id, batch=1)
    assert rows(fleet) == [("running", 0, 0, None)]


def test_a_death_after_the_last_batch_ends_the_run(fleet: Fleet) -> None:
    fleet.add_many(1)
    run = fleet.planned()
    fleet.convert(run.run_id, 1)
    report("Worker exited prematurely: signal 9 (SIGKILL) Job: 1.", run_id=run.run_id, batch=1)
    assert fleet.get(run.run_id).state == "completed"


def test_a_death_that_cannot_be_recorded_is_left_to_the_sweep(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: object, **__: object) -> None:
        raise TransientError

    monkeypatch.setattr(lost_worker, "lose_worker", away)
    fleet.add_many(1)
    run = fleet.planned()
    claim(fleet, run.run_id, 1)
    report("Worker exited prematurely: signal 9 (SIGKILL) Job: 1.", run_id=run.run_id, batch=1)
    assert rows(fleet) == [("running", 0, 0, None)]
