"""A run that no worker works on says so, with no rate and no time left, wherever it is shown."""

from __future__ import annotations

import uuid

import pytest
from celery import Celery

from tests.fleet import Fleet
from tests.integration.conftest import Run
from worker.cli.follow import from_redis
from worker.core.policy.progress import NO_PUBLISHER, NO_WORKER, UNATTENDED_S, WORKER_SILENT_S
from worker.core.policy.run_kinds import QueueName
from worker.db import heartbeats
from worker.db.heartbeats import Identity, Sign
from worker.progress.unattended import Unattended


@pytest.fixture
def run_id(fleet: Fleet) -> int:
    """A run with a batch done and others pending, to which nothing happened for a while."""
    fleet.add_many(30)
    run = fleet.planned(batch_size=10)
    fleet.convert(run.run_id, 1)
    grow_old(fleet, UNATTENDED_S + 1)
    return run.run_id


def grow_old(fleet: Fleet, seconds: float) -> None:
    for table, columns in {
        "runs": ("created_at", "started_at"),
        "batches": ("started_at", "finished_at"),
        "heartbeats": ("started_at", "beat_at", "worked_at"),
    }.items():
        older = ", ".join(f"{name} = {name} - interval '{seconds} s'" for name in columns)
        fleet.execute(f"UPDATE flowshift.{table} SET {older}")


def a_worker(fleet: Fleet, *queues: QueueName) -> Identity:
    takes = queues or ("convert",)
    me = Identity(uuid.uuid4(), "worker", "worker@here", "here", 7, "0.1.0", takes)
    with fleet.engine.begin() as connection:
        heartbeats.begin(connection, me)
        heartbeats.beat(connection, me, Sign(0.0))
    return me


def test_it_waits_for_a_worker_without_rate_or_time_left(fleet: Fleet, run_id: int) -> None:
    progress = fleet.progress(run_id)
    assert progress.has_no_worker
    assert (progress.waiting, progress.rate, progress.eta_s) == (NO_WORKER, 0.0, None)


def test_a_worker_that_lives_is_enough(fleet: Fleet, run_id: int) -> None:
    me = a_worker(fleet)
    assert not fleet.progress(run_id).has_no_worker
    with fleet.engine.begin() as connection:
        heartbeats.stop(connection, me)
    assert fleet.progress(run_id).has_no_worker


def test_a_run_that_publishes_waits_for_a_worker_that_may(fleet: Fleet, run_id: int) -> None:
    fleet.execute("UPDATE flowshift.runs SET kind = 'publish'")
    a_worker(fleet)
    assert fleet.progress(run_id).has_no_worker
    assert fleet.progress(run_id).waiting == NO_PUBLISHER
    a_worker(fleet, "publish")
    assert not fleet.progress(run_id).has_no_worker
    fleet.execute("UPDATE flowshift.runs SET kind = 'convert'")
    fleet.execute("DELETE FROM flowshift.heartbeats WHERE 'convert' = ANY(queues)")
    assert fleet.progress(run_id).waiting == NO_WORKER, "this worker converts nothing"


def test_a_worker_that_was_killed_counts_for_six_heartbeats(fleet: Fleet, run_id: int) -> None:
    a_worker(fleet)
    grow_old(fleet, WORKER_SILENT_S - 5)
    assert not fleet.progress(run_id).has_no_worker
    grow_old(fleet, 6)
    assert fleet.progress(run_id).has_no_worker


def test_a_worker_that_lives_and_does_not_work_is_none(fleet: Fleet, run_id: int) -> None:
    a_worker(fleet)
    grow_old(fleet, WORKER_SILENT_S + 1)
    fleet.execute("UPDATE flowshift.heartbeats SET beat_at = now()")
    assert fleet.progress(run_id).has_no_worker


@pytest.mark.parametrize(
    "work",
    [
        "UPDATE flowshift.batches SET state = 'running', worker = 'w', started_at = now(),\
 lease_until = now() + interval '10 s' WHERE number = 2",
        "UPDATE flowshift.batches SET finished_at = now() WHERE number = 1",
        "UPDATE flowshift.runs SET started_at = now()",
    ],
    ids=["a batch at work", "a batch that ended", "a run that began"],
)
def test_work_that_goes_on_is_a_worker_too(fleet: Fleet, run_id: int, work: str) -> None:
    fleet.execute(work)
    assert not fleet.progress(run_id).has_no_worker


def test_a_run_that_nobody_plans_waits_for_a_worker_too(fleet: Fleet) -> None:
    fleet.add_many(3)
    run = fleet.start()
    grow_old(fleet, UNATTENDED_S + 1)
    assert fleet.progress(run.run_id).has_no_worker


def test_a_paused_run_has_neither_rate_nor_time_left_and_misses_no_worker(
    fleet: Fleet, run_id: int
) -> None:
    fleet.execute("UPDATE flowshift.batches SET finished_at = now() WHERE number = 1")
    assert fleet.progress(run_id).rate > 0
    fleet.execute("UPDATE flowshift.runs SET state = 'paused', state_reason = 'backup'")
    progress = fleet.progress(run_id)
    assert (progress.rate, progress.eta_s, progress.waiting) == (0.0, None, None)


def test_a_run_that_is_over_misses_nobody(fleet: Fleet, run_id: int) -> None:
    fleet.execute("UPDATE flowshift.runs SET state = 'cancelled', finished_at = now()")
    assert not fleet.progress(run_id).has_no_worker


def test_what_still_runs_reports_it_to_redis(fleet: Fleet, run_id: int) -> None:
    current = fleet.current
    reporter = Unattended(current, Celery(broker="memory://"), "beat@here")
    assert reporter.report() == [run_id]
    shown = from_redis(current.redis, current.settings.namespace, run_id)
    assert shown is not None
    assert (shown.waiting, shown.eta_s) == (NO_WORKER, None)
    a_worker(fleet)
    assert reporter.report() == []


def test_status_says_what_is_missing_and_what_to_do(
    fleet: Fleet, run_id: int, flowshift: Run
) -> None:
    _, out, _ = flowshift("status", str(run_id))
    line = out.splitlines()[0]
    assert line == f"run {run_id} running: 10/30 (33%), 0 failed; waits for {NO_WORKER}"


def test_a_run_that_is_planned_has_no_time_left_while_no_bots_are_known(fleet: Fleet) -> None:
    fleet.add_many(3)
    run = fleet.planned(batch_size=10)
    fleet.execute("DELETE FROM flowshift.batches")
    fleet.execute("UPDATE flowshift.runs SET state = 'planning', finished_at = NULL")

    progress = fleet.progress(run.run_id)

    assert (progress.state, progress.bots_total, progress.eta_s) == ("planning", 0, None)
