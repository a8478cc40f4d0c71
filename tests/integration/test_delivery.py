"""A message's delivery: what is tried again, and what becomes of a batch after each kind of fault."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import pytest
import sqlalchemy as sa

from tests.fleet import Fleet
from tests.queues import TestQueue
from tests.servers import PrivatePostgres, private_servers
from worker import runtime
from worker.core.policy.batch_ref import BatchRef
from worker.db import bots, outbox
from worker.db.engine import map_database_errors
from worker.db.outbox import ToEnqueue
from worker.errors import GivenUpError, TransientError
from worker.runtime import Runtime
from worker.settings import Settings
from worker.steps import plan as planning
from worker.steps.batch import delivery, settle, write_drafts
from worker.steps.batch.delivery import do_batches, plan
from worker.steps.batch.execute import execute
from worker.steps.batch.lifecycle import FAULTS_MAX, postpone_batch
from worker.steps.batch.retry import ATTEMPTS, persist
from worker.steps.finish import finish_run
from worker.steps.sweep import sweep_once


def state(fleet: Fleet, run_id: int, number: int = 1) -> Any:
    """A batch's row."""
    query = "SELECT * FROM flowshift.batches WHERE run_id = :r AND number = :n"
    return fleet.rows(query, r=run_id, n=number)[0]


def deliver(fleet: Fleet, run_id: int, number: int = 1, **values: Any) -> str:
    """What a delivery of a batch comes to, in words."""
    return do_batches(BatchRef(run_id, number), fleet.process(**values))


def raising(error: BaseException) -> Callable[..., Any]:
    """A function that raises."""

    def fail(*_: Any, **__: Any) -> Any:
        raise error

    return fail


# -- given up --------------------------------------------------------------------------------------


def test_a_batch_that_stops_on_a_fault_is_given_up_after_everything_that_follows(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    fleet.add_many(1)
    run = fleet.planned()
    monkeypatch.setattr(bots, "read_chunks", raising(ZeroDivisionError("by zero")))

    with pytest.raises(GivenUpError) as raised:
        deliver(fleet, run.run_id)

    assert repr(raised.value) == "given up: ZeroDivisionError: by zero"
    assert state(fleet, run.run_id).state == "failed"
    assert fleet.get(run.run_id).state == "completed_with_failures"


def test_while_the_queue_is_away_the_rest_is_done_before_a_batch_counts_as_given_up(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    fleet.add_many(3)
    run = fleet.planned(batch_size=1)
    queue = TestQueue()
    queue.answering = False
    read, errors = bots.read_chunks, [ZeroDivisionError("by zero")]

    def fail_once(*arguments: Any, **options: Any) -> Any:
        if errors:
            raise errors.pop()
        return read(*arguments, **options)

    monkeypatch.setattr(bots, "read_chunks", fail_once)
    with pytest.raises(GivenUpError, match="by zero"):
        deliver(fleet, run.run_id, queue=queue)
    states = [row[5] for row in fleet.batch_slices(run.run_id)]
    assert states == ["failed", "done", "done"]


def test_a_run_that_cannot_be_planned_is_given_up(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    fleet.add_many(1)
    run = fleet.start()
    monkeypatch.setattr(planning, "_plan_step", raising(ZeroDivisionError("by zero")))
    with pytest.raises(GivenUpError, match="planning failed: ZeroDivisionError: by zero"):
        plan(run.run_id, fleet.process())
    assert fleet.get(run.run_id).state == "failed"


def test_planning_enqueues_the_first_batches_and_does_them_while_the_queue_is_away(
    fleet: Fleet,
) -> None:
    fleet.add_many(2)
    queue = TestQueue()
    run = fleet.start(batch_size=1)
    assert plan(run.run_id, fleet.process(queue)) == f"run {run.run_id} planned"
    assert queue.messages == [f"convert {run.run_id}/1", f"convert {run.run_id}/2"]
    queue.answering = False
    again = fleet.start(batch_size=1, allow_overlap=True)
    assert "1 bot: bot-00001" in plan(again.run_id, fleet.process(queue))
    assert fleet.get(again.run_id).state == "completed"


# -- the queue -------------------------------------------------------------------------------------


def test_the_end_of_a_batch_asks_for_no_others_where_its_claim_has_filled_the_queue(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    fleet.add_many(3)
    run = fleet.planned(batch_size=1)
    queue, asked, take = TestQueue(), list[int](), outbox.take

    def noted(connection: sa.Connection, run_id: int, window: int) -> list[ToEnqueue]:
        asked.append(run_id)
        return take(connection, run_id, window)

    monkeypatch.setattr(outbox, "take", noted)
    deliver(fleet, run.run_id, queue=queue)
    assert asked == [run.run_id]
    assert queue.messages == [f"convert {run.run_id}/2", f"convert {run.run_id}/3"]


@pytest.mark.parametrize("limit", [{"concurrency": 1}, {"max_rate": 1e6}])
def test_the_end_of_a_batch_lets_the_next_one_in_where_its_run_has_a_limit(
    fleet: Fleet, limit: dict[str, Any]
) -> None:
    fleet.add_many(3)
    run = fleet.planned(batch_size=1, **limit)
    queue = TestQueue()
    process = fleet.process(queue)
    process.queue.top_up(run.run_id)
    for done in (1, 2):
        do_batches(BatchRef(run.run_id, done), process)
        assert queue.messages[-1] == f"convert {run.run_id}/{done + 1}"


# -- postponed -------------------------------------------------------------------------------------


def test_a_batch_is_postponed_as_often_as_stated_then_fails_and_retry_takes_it(
    fleet: Fleet,
) -> None:
    fleet.add_many(2)
    run = fleet.planned()
    ref = BatchRef(run.run_id, 1)
    postpone = partial(postpone_batch, fleet.engine, ref, "the database was away", worker="test")
    for fault in range(FAULTS_MAX + 1):
        if fault % 2:
            fleet.claim(run.run_id)
        assert postpone(is_its_fault=True) == ("pending" if fault < FAULTS_MAX else "failed")
    row = state(fleet, run.run_id)
    assert (row.state, row.losses, row.faults) == ("failed", 0, FAULTS_MAX + 1)
    assert row.error == "tried 6 times: the database was away"
    assert postpone(is_its_fault=True) is None
    assert finish_run(fleet.engine, run.run_id, actor="test") is not None
    assert fleet.run(retry_of=run.run_id).counts.converted == 2


def test_what_is_not_its_fault_does_not_fail_a_batch_that_has_as_many_faults_as_it_may(
    fleet: Fleet,
) -> None:
    fleet.add_many(1)
    run = fleet.planned()
    fleet.execute("UPDATE flowshift.batches SET faults = :most", most=FAULTS_MAX)
    ref = BatchRef(run.run_id, 1)
    for _ in range(3):
        state_ = postpone_batch(fleet.engine, ref, "away", worker="test", is_its_fault=False)
        assert state_ == "pending"
    assert state(fleet, run.run_id).faults == FAULTS_MAX


def test_a_batch_that_another_worker_has_is_not_postponed(fleet: Fleet) -> None:
    fleet.add_many(1)
    run = fleet.planned()
    assert fleet.claim(run.run_id, worker="one") is not None
    ref = BatchRef(run.run_id, 1)
    assert postpone_batch(fleet.engine, ref, "away", worker="two", is_its_fault=True) is None
    assert state(fleet, run.run_id).state == "running"


@pytest.fixture
def postgres(settings: Settings, tmp_path: Path) -> Any:
    """A PostgreSQL that may be stopped, and a fleet in it."""
    with private_servers(tmp_path) as servers:
        url = servers.postgres.make_database("stopped")
        own = msgspec.structs.replace(settings, database_url=url)
        fleet = Fleet(runtime.configure(own))
        yield fleet, servers.postgres
        runtime.shutdown()


class Outage:
    """Stops a server, and starts it again after so many pauses of a worker."""

    def __init__(self, postgres: PrivatePostgres) -> None:
        self._postgres = postgres
        self._pauses_left = 0

    def begin(self, pauses: int) -> None:
        """Stop the server."""
        self._pauses_left = pauses
        self._postgres.end(signal.SIGINT)

    def sleep(self, _: float) -> None:
        """A pause, in which no time passes."""
        self._pauses_left -= 1
        if self._pauses_left == 0:
            self._postgres.start()


@pytest.mark.timeout(180)
def test_outages_before_the_claim_count_nothing_against_a_batch_however_many_there_are(
    postgres: tuple[Fleet, PrivatePostgres],
) -> None:
    fleet, server = postgres
    fleet.add_many(2)
    run_id = fleet.planned().run_id
    outage = Outage(server)
    for _ in range(FAULTS_MAX + 2):
        outage.begin(pauses=ATTEMPTS + 2)  # all tries of a delivery, and some of giving it back
        said = deliver(fleet, run_id, sleep=outage.sleep)
        assert said.startswith("postponed: ")
    row = state(fleet, run_id)
    assert (row.state, row.faults) == ("pending", 0)
    assert "2 converted" in deliver(fleet, run_id)


@pytest.mark.timeout(180)
def test_an_outage_that_begins_in_a_batch_and_outlasts_the_delivery_is_no_fault_of_the_batch(
    postgres: tuple[Fleet, PrivatePostgres], monkeypatch: pytest.MonkeyPatch
) -> None:
    fleet, server = postgres
    fleet.add_many(2)
    run_id = fleet.planned().run_id
    outage = Outage(server)
    read = bots.read_chunks

    def stopped(*arguments: Any, **options: Any) -> Any:
        outage.begin(pauses=ATTEMPTS + 2)
        return read(*arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(bots, "read_chunks", stopped)
        assert deliver(fleet, run_id, sleep=outage.sleep).startswith("postponed: ")
    row = state(fleet, run_id)
    assert (row.state, row.faults, row.attempt) == ("pending", 0, 1)
    assert "2 converted" in deliver(fleet, run_id)


@pytest.mark.timeout(180)
def test_an_outage_after_the_commit_does_not_fail_the_task_and_a_sweep_ends_the_run(
    postgres: tuple[Fleet, PrivatePostgres], monkeypatch: pytest.MonkeyPatch
) -> None:
    fleet, server = postgres
    fleet.add_many(2)
    run_id = fleet.planned().run_id
    outage = Outage(server)
    tries: list[int] = []

    def stopped(*arguments: Any, **options: Any) -> Any:
        if not tries:
            outage.begin(pauses=ATTEMPTS)  # one more than the delivery makes
        tries.append(1)
        return finish_run(*arguments, **options)

    monkeypatch.setattr(delivery, "finish_run", stopped)
    said = deliver(fleet, run_id, sleep=outage.sleep)
    assert "2 converted" in said
    assert len(tries) == ATTEMPTS
    outage.sleep(0)
    assert fleet.get(run_id).state == "running"
    fleet.execute("UPDATE flowshift.batches SET finished_at = now() - interval '1 min'")
    assert sweep_once(fleet.current, TestQueue(), actor="sweep") == [run_id]
    assert fleet.get(run_id).state == "completed"


def test_a_batch_that_fails_in_every_try_after_its_claim_counts_a_fault_and_is_given_up_in_the_end(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    fleet.add_many(1)
    run = fleet.planned()
    monkeypatch.setattr(bots, "read_chunks", raising(TransientError("too busy")))
    quickly: dict[str, Any] = {"sleep": lambda _: None}
    for fault in range(1, FAULTS_MAX + 1):
        assert deliver(fleet, run.run_id, **quickly) == "postponed: too busy"
        row = state(fleet, run.run_id)
        assert (row.state, row.faults, row.attempt) == ("pending", fault, ATTEMPTS * fault)
    with pytest.raises(GivenUpError, match="too busy"):
        deliver(fleet, run.run_id, **quickly)
    assert state(fleet, run.run_id).state == "failed"
    assert fleet.get(run.run_id).state == "completed_with_failures"


# -- tried again -----------------------------------------------------------------------------------


def test_locks_that_stay_for_long_and_a_cut_connection_are_tried_again(fleet: Fleet) -> None:
    fleet.add_many(3)
    faults = ((lock_for_long, "55P03"), (cut, "57P01"))
    for disturb, said in faults:
        run = fleet.planned(allow_overlap=True)
        met: list[str] = []
        with fleet.connect() as platform:
            let_go = disturb(fleet, platform)
            report = persist(partial(convert, fleet, run.run_id, met), lambda _: let_go())  # noqa: B023
        assert report is not None
        assert report.counts.bots == 3
        assert [said in error for error in met] == [True], met
        assert state(fleet, run.run_id).losses == 0


def test_every_passing_fault_of_postgresql_is_transient_and_gives_up_after_the_stated_number(
    fleet: Fleet,
) -> None:
    def serialisation() -> None:
        raises = "DO $$ BEGIN RAISE SQLSTATE '40001'; END $$"
        with map_database_errors(), fleet.engine.begin() as connection:
            connection.execute(sa.text(raises))

    pauses: list[float] = []
    with pytest.raises(TransientError, match="40001"):
        persist(serialisation, pauses.append)
    assert len(pauses) == ATTEMPTS - 1
    assert all(0.5 * 0.4 <= pause <= 10 for pause in pauses)
    assert sum(pauses) <= 40


# -- other faults ----------------------------------------------------------------------------------


def test_a_bot_that_keeps_its_transaction_idle_for_too_long_is_not_tried_again_but_a_loss(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    fleet.add_many(1)
    run = fleet.planned()
    quick = msgspec.structs.replace(fleet.current.settings, statement_timeout_ms=1_000)
    current = Runtime(quick, fleet.current.servers)
    write = write_drafts.write_drafts

    def slowly(*arguments: Any) -> Any:
        time.sleep(1.3)
        return write(*arguments)

    monkeypatch.setattr(settle, "write_drafts", slowly)
    for losses in (1, 2):
        assert "rows locked for too long" in deliver(Fleet(current), run.run_id)
        row = state(fleet, run.run_id)
        assert (row.losses, row.attempt) == (losses, losses)
    current.close()
    assert fleet.outcomes(run.run_id) == {"bot-00000": "failed worker_lost"}


def test_a_batch_that_runs_out_of_memory_outside_a_bot_is_a_loss(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    fleet.add_many(1)
    run = fleet.planned()
    monkeypatch.setattr(bots, "read_chunks", raising(MemoryError()))
    assert deliver(fleet, run.run_id) == "enqueued again: it ran out of memory"
    assert (state(fleet, run.run_id).state, state(fleet, run.run_id).losses) == ("pending", 1)


def test_a_worker_stopped_in_a_batch_hands_it_back(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    fleet.add_many(1)
    run = fleet.planned()
    monkeypatch.setattr(bots, "read_chunks", raising(SystemExit(1)))
    with pytest.raises(SystemExit):
        deliver(fleet, run.run_id)
    assert (state(fleet, run.run_id).state, state(fleet, run.run_id).losses) == ("pending", 0)


def convert(fleet: Fleet, run_id: int, met: list[str]) -> Any:
    """Do the first batch with a short patience for locks; keeps what was `met`."""
    values = msgspec.structs.replace(fleet.current.settings, lock_timeout_ms=2_000)
    current = Runtime(values, fleet.current.servers)
    try:
        return execute(BatchRef(run_id, 1), Fleet(current).process())
    except TransientError as error:
        met.append(str(error))
        raise
    finally:
        current.close()


def lock_for_long(_: Fleet, platform: Any) -> Callable[[], None]:
    """A save of the platform's that takes longer than we wait."""
    platform.execute("UPDATE bots SET name = 'x'")
    unlock: Callable[[], None] = platform.rollback
    return unlock


def cut(fleet: Fleet, platform: Any) -> Callable[[], None]:
    """A connection that is ended while it waits."""
    platform.execute("UPDATE bots SET name = 'x'")

    def end() -> None:
        wait_for_a_lock(fleet)
        fleet.rows(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE datname = current_database() AND wait_event_type = 'Lock'"
        )

    thread = threading.Thread(target=end)
    thread.start()

    def let_go() -> None:
        thread.join()
        platform.rollback()

    return let_go


def wait_for_a_lock(fleet: Fleet) -> None:
    """Until a session waits for a lock in this database."""
    query = (
        "SELECT FROM pg_stat_activity "
        "WHERE datname = current_database() AND wait_event_type = 'Lock'"
    )
    while not fleet.rows(query):
        time.sleep(0.01)
