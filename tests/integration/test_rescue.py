"""Rescue: leases, lost workers, lost messages, split batches, and runs that no worker looks after."""

from __future__ import annotations

import random
import threading
import uuid
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import sqlalchemy as sa

from tests.fleet import Fleet, a_workflow
from worker.core.parity.overhead import measure
from worker.core.policy.batch_ref import BatchRef
from worker.core.policy.progress import Counts
from worker.core.policy.run_kinds import QueueName
from worker.core.workflow import v1
from worker.db import batches, heartbeats, ledger, rescue, run_transitions, runs
from worker.db.heartbeats import Identity, Sign
from worker.db.split import split
from worker.errors import StaleError, TransientError
from worker.steps.batch import lease
from worker.steps.batch.lifecycle import hand_back_batch
from worker.steps.finish import finish_run
from worker.steps.rescue import (
    Swept,
    close_run,
    lose_worker,
    runs_to_close,
    sweep,
)


def claimed(fleet: Fleet, run_id: int, number: int = 1, worker: str = "one") -> batches.Batch:
    """A batch in the hands of a worker."""
    with fleet.engine.begin() as connection:
        batch = batches.claim(connection, BatchRef(run_id, number), worker=worker, lease_s=60)
    assert batch is not None
    return batch


def state(fleet: Fleet, run_id: int, number: int = 1) -> Any:
    """A batch's row."""
    query = "SELECT * FROM flowshift.batches WHERE run_id = :r AND number = :n"
    return fleet.rows(query, r=run_id, n=number)[0]


def let_pass(fleet: Fleet, seconds: int) -> None:
    """Let time pass in the database: everything in it was longer ago."""
    for column in ("lease_until", "enqueued_at", "finished_at"):
        fleet.execute(f"UPDATE flowshift.batches SET {column} = {column} - interval '{seconds} s'")
    fleet.execute(
        "UPDATE flowshift.runs SET moved_at = moved_at - :s * interval '1 s', "
        "started_at = started_at - :s * interval '1 s'",
        s=seconds,
    )


def swept(fleet: Fleet, *empty: QueueName) -> Swept:
    """What a sweep finds while these queues are empty."""
    found = look(fleet, *empty)
    assert found is not None
    return found


def look(fleet: Fleet, *empty: QueueName) -> Swept | None:
    """What a sweep finds while another worker's heart beats, as it has for an hour."""
    beats(fleet, OTHER, unbroken_s=3_600)
    return sweep(fleet.engine, empty=empty, actor="sweep", lease_s=60, heartbeat_s=10)


OTHER = Identity(uuid.uuid4(), "worker", "other@there", "there", 7, "0.1.0", ("convert",))


def beats(fleet: Fleet, who: Identity, *, unbroken_s: float, silent_s: float = 0) -> None:
    """Let the heart of a worker have beaten without a gap for so long, and be silent since."""
    with fleet.engine.begin() as connection:
        heartbeats.beat(connection, who, Sign(0.0))
    fleet.execute(
        "UPDATE flowshift.heartbeats SET beat_at = now() - :silent * interval '1 s', "
        "unbroken_since = now() - :unbroken * interval '1 s' WHERE instance_id = :who",
        silent=silent_s,
        unbroken=unbroken_s,
        who=who.instance_id,
    )


def actions(fleet: Fleet, run_id: int) -> list[str]:
    """What the audit trail says of rescue."""
    rows = fleet.rows("SELECT action FROM flowshift.audit WHERE run_id = :r ORDER BY id", r=run_id)
    usual = {"run.created", "run.running", "run.finishing", "run.completed"}
    usual |= {"run.completed_with_failures"}
    return [row.action for row in rows if row.action not in usual]


# -- leases ----------------------------------------------------------------------------------------


def test_a_claimed_batch_is_no_other_workers_until_its_worker_is_known_to_be_lost(
    fleet: Fleet,
) -> None:
    fleet.add_many(2)
    run = fleet.planned()
    claimed(fleet, run.run_id)
    with pytest.raises(StaleError):
        fleet.convert(run.run_id, 1)
    assert lose_worker(fleet.engine, "one", "it died", actor="test") == {BatchRef(run.run_id, 1)}
    assert lose_worker(fleet.engine, "one", "it died", actor="test") == set()
    assert fleet.convert(run.run_id, 1).counts.converted == 2
    assert state(fleet, run.run_id).losses == 1


def test_a_batch_that_a_sweep_has_locked_is_asked_for_again_by_the_worker_that_claimed_it(
    fleet: Fleet,
) -> None:
    """Taken for somebody else's, it would have been let go by its own worker, and counted as lost."""
    fleet.add_many(2)
    run = fleet.planned()
    claimed(fleet, run.run_id)
    let_pass(fleet, 61)
    with fleet.engine.begin() as sweeping:
        (overdue,) = rescue.claims_overdue(sweeping, heartbeat_s=10, patience_s=15)
        assert not overdue.is_lost
        with pytest.raises(TransientError, match=f"batch 1 of run {run.run_id} is locked"):
            claimed(fleet, run.run_id)
    assert claimed(fleet, run.run_id).attempt == 2


def test_a_batch_that_another_worker_claimed_is_not_asked_for_again_though_it_is_locked(
    fleet: Fleet,
) -> None:
    fleet.add_many(2)
    run = fleet.planned()
    claimed(fleet, run.run_id)
    with fleet.engine.begin() as other:
        other.execute(sa.text("SELECT 1 FROM flowshift.batches FOR UPDATE"))
        with fleet.engine.begin() as connection:
            ref = BatchRef(run.run_id, 1)
            assert batches.claim(connection, ref, worker="two", lease_s=60) is None


def test_a_batch_whose_lease_ran_out_is_found_once_however_many_sweep(fleet: Fleet) -> None:
    fleet.add_many(4)
    run = fleet.planned(batch_size=2)
    fleet.take(run.run_id, 9)
    claimed(fleet, run.run_id, 1)
    swept(fleet)
    assert state(fleet, run.run_id).state == "running"
    let_pass(fleet, 61)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: look(fleet), range(4)))

    row = state(fleet, run.run_id)
    assert (row.state, row.losses, row.lease_until, row.enqueued_at) == ("pending", 1, None, None)
    assert actions(fleet, run.run_id) == ["batch.lost"]
    assert fleet.take(run.run_id, 9) == [1]


def test_a_lease_that_ran_out_is_no_loss_until_its_worker_had_the_time_to_renew_it(
    fleet: Fleet,
) -> None:
    fleet.add_many(1)
    run = fleet.planned()
    me = Identity(uuid.uuid4(), "worker", "me@here", "here", 9, "0.1.0", ("convert",))
    claimed(fleet, run.run_id, worker=f"me@here {me.instance_id.hex[:8]}/11")
    let_pass(fleet, 61)

    def is_lost() -> bool:
        found = sweep(fleet.engine, empty=(), actor="sweep", lease_s=60, heartbeat_s=10)
        assert found is not None
        return bool(state(fleet, run.run_id).state != "running")

    assert not is_lost(), "no heart beats: the database may be back this moment"
    beats(fleet, OTHER, unbroken_s=20)
    assert not is_lost(), "it has been back for less than the 25 s that a worker may take"
    beats(fleet, OTHER, unbroken_s=30, silent_s=21)
    assert not is_lost(), "what beat then does not any more"
    beats(fleet, OTHER, unbroken_s=30)
    beats(fleet, me, unbroken_s=20)
    assert not is_lost(), "others could reach the database; its worker only now"
    with fleet.engine.begin() as connection:
        heartbeats.stop(connection, me)
    assert is_lost(), "its worker stopped, and left it behind"


@pytest.mark.parametrize(("unbroken_s", "silent_s"), [(30, 0), (5, 21)])
def test_a_worker_that_could_have_renewed_its_lease_or_is_silent_is_lost(
    fleet: Fleet, unbroken_s: float, silent_s: float
) -> None:
    fleet.add_many(1)
    run = fleet.planned()
    me = Identity(uuid.uuid4(), "worker", "me@here", "here", 9, "0.1.0", ("convert",))
    claimed(fleet, run.run_id, worker=f"me@here {me.instance_id.hex[:8]}/11")
    let_pass(fleet, 61)
    beats(fleet, me, unbroken_s=unbroken_s, silent_s=silent_s)
    namesake = Identity(uuid.uuid4(), "worker", "me@here", "here", 9, "0.1.0", ("convert",))
    beats(fleet, namesake, unbroken_s=1)  # a container that began again
    swept(fleet)
    assert state(fleet, run.run_id).losses == 1


def test_a_batch_in_a_workers_transaction_is_alive_though_its_lease_ran_out(fleet: Fleet) -> None:
    fleet.add_many(1)
    run = fleet.planned()
    batch = claimed(fleet, run.run_id)
    let_pass(fleet, 61)
    with fleet.engine.begin() as connection:
        assert batches.lock_for_work(connection, batch)
        swept(fleet)
        assert state(fleet, run.run_id).state == "running"
    swept(fleet)
    assert state(fleet, run.run_id).state == "pending"


def test_a_lease_is_renewed_while_the_batchs_transaction_is_open(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    fleet.add_many(1)
    run = fleet.planned()
    batch = claimed(fleet, run.run_id)
    let_pass(fleet, 3_600)
    before = state(fleet, run.run_id).lease_until
    renewed = threading.Event()
    renew = batches.renew

    def renew_and_tell(*arguments: Any, **options: Any) -> bool:
        done = renew(*arguments, **options)
        renewed.set()
        return done

    monkeypatch.setattr(batches, "renew", renew_and_tell)
    with lease.renewed(fleet.engine, batch, 1), fleet.engine.begin() as connection:
        assert batches.lock_for_work(connection, batch)
        assert renewed.wait(20)
    assert state(fleet, run.run_id).lease_until > before


def test_a_worker_that_was_given_up_can_neither_begin_nor_commit(fleet: Fleet) -> None:
    fleet.add_many(2)
    run = fleet.planned()
    late = claimed(fleet, run.run_id)
    lose_worker(fleet.engine, "one", "it seemed dead", actor="test")
    claimed(fleet, run.run_id, worker="another")
    with fleet.engine.begin() as connection:
        assert not batches.lock_for_work(connection, late)
        assert not batches.renew(connection, late, lease_s=9)
        assert not batches.complete(
            connection,
            late.ref,
            attempt=late.attempt,
            counts=Counts(),
            codes={},
            overhead=measure([]),
            duration_ms=0,
        )
    lose_worker(fleet.engine, "another", "it died too", actor="test")


def test_a_worker_that_was_overtaken_in_its_transaction_leaves_nothing(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    fleet.add_many(2)
    run = fleet.planned()
    insert = ledger.insert_ledger

    def slowly(*arguments: Any) -> None:
        insert(*arguments)
        let_pass(fleet, 3_600)
        lose_worker(fleet.engine, "test", "it seemed dead", actor="test")

    with monkeypatch.context() as patch:
        patch.setattr(ledger, "insert_ledger", slowly)
        with pytest.raises(StaleError, match="went to another worker"):
            fleet.convert(run.run_id, 1)
    assert fleet.drafts() == {}
    assert fleet.convert(run.run_id, 1).counts.converted == 2


# -- bots that kill --------------------------------------------------------------------------------


def lose(fleet: Fleet, run_id: int, number: int) -> None:
    """Lose the worker of a batch."""
    claimed(fleet, run_id, number, worker="doomed")
    lose_worker(fleet.engine, "doomed", "it was killed", actor="test")


def test_a_batch_that_loses_two_workers_is_halved_until_the_bot_is_alone_and_recorded(
    fleet: Fleet,
) -> None:
    fleet.add_many(4)
    run = fleet.planned()
    for number in (1, 1, 1, 1):
        lose(fleet, run.run_id, number)
    assert fleet.batch_slices(run.run_id) == [
        (1, None, "bot-00000", None, 1, "pending"),
        (2, "bot-00001", "bot-00003", None, 2, "pending"),
        (3, "bot-00000", "bot-00001", None, 1, "pending"),
    ]
    lose(fleet, run.run_id, 1)
    assert fleet.outcomes(run.run_id) == {"bot-00000": "failed worker_lost"}
    for number in (2, 3):
        fleet.convert(run.run_id, number)
    assert finish_run(fleet.engine, run.run_id, actor="test") is not None
    progress = fleet.progress(run.run_id)
    assert progress.state == "completed_with_failures"
    assert (progress.counts.converted, progress.counts.failed) == (3, 1)
    assert (progress.bots_total, progress.batches_total) == (4, 3)
    assert actions(fleet, run.run_id) == [
        "batch.lost",
        "batch.split",
        "batch.split",
        "batch.lost",
        "bot.gave_up",
    ]
    again = fleet.run(retry_of=run.run_id, code="worker_lost")
    assert fleet.outcomes(again.run_id) == {"bot-00000": "converted"}


def test_a_bot_alone_that_vanished_ends_its_batch_with_nothing(fleet: Fleet) -> None:
    fleet.add("a", a_workflow())
    run = fleet.planned()
    fleet.execute("DELETE FROM bots")
    for _ in range(2):
        lose(fleet, run.run_id, 1)
    assert (state(fleet, run.run_id).state, fleet.outcomes(run.run_id)) == ("done", {})


@pytest.mark.parametrize("listed", [False, True])
def test_split_keeps_every_bot_in_exactly_one_batch(fleet: Fleet, *, listed: bool) -> None:
    ids = fleet.add_many(11)
    run = fleet.planned(bot_ids=tuple(ids) if listed else None, batch_size=11)

    draw = random.Random(11)
    for _ in range(30):
        slices = fleet.batch_slices(run.run_id)
        number, first = draw.randint(1, len(slices)), draw.choice([None, 0, 1, 2, 5, 12])
        before = slices[number - 1][4]
        with fleet.engine.begin() as connection:
            new = split(connection, BatchRef(run.run_id, number), first=first)
        counts = [row[4] for row in fleet.batch_slices(run.run_id)]
        kept = (before + 1) // 2 if first is None else first
        assert new == (BatchRef(run.run_id, len(counts)) if 0 < kept < before else None)
        assert counts[number - 1] == (kept if new else before)
        assert sum(counts) == 11
        assert fleet.get(run.run_id).batch_count == len(counts)
    for number, *_ in fleet.batch_slices(run.run_id):
        held = state(fleet, run.run_id, number).bot_count
        assert fleet.convert(run.run_id, number).counts.bots == held
    assert set(fleet.outcomes(run.run_id)) == set(ids)


def test_only_a_pending_batch_is_split(fleet: Fleet) -> None:
    fleet.add_many(4)
    run = fleet.planned()
    claimed(fleet, run.run_id)
    with fleet.engine.begin() as connection:
        assert split(connection, BatchRef(run.run_id, 1)) is None
        assert split(connection, BatchRef(run.run_id, 7)) is None


def test_a_bot_whose_conversion_takes_too_much_memory_fails_alone(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    fleet.add("a", a_workflow())
    fleet.add("b", a_workflow("greedy"))
    decode = v1.decode

    def greedy(text: bytes, *arguments: Any) -> Any:
        if b"greedy" in text:
            raise MemoryError
        return decode(text, *arguments)

    monkeypatch.setattr(v1, "decode", greedy)
    progress = fleet.run()
    assert fleet.outcomes(progress.run_id) == {"a": "converted", "b": "failed worker_lost"}


# -- stopping, and servers that are away -----------------------------------------------------------


def test_a_batch_handed_back_is_no_loss_and_is_published_next(fleet: Fleet) -> None:
    fleet.add_many(1)
    run = fleet.planned()
    fleet.take(run.run_id, 9)
    claimed(fleet, run.run_id)
    other = {"worker": "another", "actor": "test"}
    assert not hand_back_batch(fleet.engine, BatchRef(run.run_id, 1), **other)
    assert hand_back_batch(fleet.engine, BatchRef(run.run_id, 1), worker="one", actor="test")
    assert not hand_back_batch(fleet.engine, BatchRef(run.run_id, 1), worker="one", actor="test")
    assert lose_worker(fleet.engine, "one", "it ended", actor="test") == set()
    assert state(fleet, run.run_id).losses == 0
    assert actions(fleet, run.run_id) == ["batch.handed_back"]
    assert fleet.take(run.run_id, 9) == [1]


# -- messages and runs that no worker looks after -----------------------------------------------------


def test_with_an_empty_queue_a_batch_that_no_worker_claimed_is_enqueued_again(fleet: Fleet) -> None:
    fleet.add_many(3)
    run = fleet.planned(batch_size=1)
    fleet.take(run.run_id, 2)
    swept(fleet, "convert")
    assert fleet.take(run.run_id, 2) == []
    let_pass(fleet, 11)
    assert swept(fleet, "convert").to_enqueue == (run.run_id,)
    assert actions(fleet, run.run_id) == ["batch.resent"]
    [entry] = fleet.rows("SELECT reason, detail FROM flowshift.audit WHERE action = 'batch.resent'")
    assert entry.reason == "the queue lost the messages of these 2 batches"
    assert entry.detail == {"batches": [1, 2]}
    assert fleet.take(run.run_id, 2) == [1, 2]
    swept(fleet, "convert")  # just sent: given its time
    assert fleet.take(run.run_id, 2) == []


def test_a_deep_queue_is_left_alone_however_old_its_messages_are(fleet: Fleet) -> None:
    fleet.add_many(3)
    run = fleet.planned(batch_size=1)
    fleet.take(run.run_id, 3)
    let_pass(fleet, 36_000)
    swept(fleet)
    assert fleet.take(run.run_id, 3) == []
    claimed(fleet, run.run_id, 1)
    swept(fleet)
    assert fleet.take(run.run_id, 3) == []


def test_a_message_that_later_ones_have_overtaken_is_sent_again(fleet: Fleet) -> None:
    fleet.add_many(4)
    run = fleet.planned(batch_size=1)
    fleet.take(run.run_id, 2)
    let_pass(fleet, 60)
    claimed(fleet, run.run_id, 2)
    fleet.take(run.run_id, 4)
    swept(fleet)
    assert state(fleet, run.run_id, 1).enqueued_at is not None
    claimed(fleet, run.run_id, 3)  # published a minute later than 1
    swept(fleet)
    assert fleet.take(run.run_id, 4) == [1]


def publishes(fleet: Fleet, run_id: int) -> None:
    """Make a run one that publishes."""
    fleet.execute("UPDATE flowshift.runs SET kind = 'publish' WHERE run_id = :id", id=run_id)


def test_each_queue_is_empty_or_deep_by_itself(fleet: Fleet) -> None:
    fleet.add_many(3)
    converts, other = (fleet.planned(batch_size=1, kind=kind) for kind in ("convert", "validate"))
    publishes(fleet, other.run_id)
    for run in (converts, other):
        fleet.take(run.run_id, 2)
    let_pass(fleet, 11)
    swept(fleet, "publish")
    assert fleet.take(converts.run_id, 2) == [], "its queue is deep"
    assert fleet.take(other.run_id, 2) == [1, 2]
    let_pass(fleet, 11)
    swept(fleet, "convert")
    assert fleet.take(other.run_id, 2) == [], "its queue is deep"
    assert fleet.take(converts.run_id, 2) == [1, 2]


def test_a_message_is_overtaken_only_by_those_of_its_own_queue(fleet: Fleet) -> None:
    fleet.add_many(3)
    waits, goes = (fleet.planned(batch_size=1, kind=kind) for kind in ("convert", "validate"))
    publishes(fleet, waits.run_id)
    fleet.take(waits.run_id, 2)
    let_pass(fleet, 60)
    fleet.take(goes.run_id, 1)
    claimed(fleet, goes.run_id, 1)
    swept(fleet)
    assert fleet.take(waits.run_id, 2) == [], "no worker takes from the other queue yet"
    fleet.take(waits.run_id, 3)
    claimed(fleet, waits.run_id, 3)
    swept(fleet)
    assert fleet.take(waits.run_id, 3) == [1, 2]


def test_a_run_that_no_worker_plans_is_planned_again_but_not_one_that_is_being_planned(
    fleet: Fleet,
) -> None:
    fleet.add_many(3)
    run = fleet.start()
    assert swept(fleet, "convert").to_plan == ()
    let_pass(fleet, 11)
    assert swept(fleet, "publish").to_plan == ()  # its message may be waiting
    with fleet.engine.begin() as connection:
        runs.get(connection, run.run_id, lock=True)  # as its planner does
        assert swept(fleet, "convert").to_plan == ()
    assert swept(fleet, "convert").to_plan == (run.run_id,)
    assert swept(fleet, "convert").to_plan == ()
    assert actions(fleet, run.run_id) == ["run.replanned"]


@pytest.mark.parametrize("begun", [False, True])
def test_a_run_whose_finisher_died_is_closed(fleet: Fleet, *, begun: bool) -> None:
    fleet.add_many(2)
    run = fleet.planned()
    fleet.convert(run.run_id, 1)
    if begun:
        with fleet.engine.begin() as connection:
            run_transitions.finish_if_last(connection, run.run_id, "test")
    assert runs_to_close(fleet.engine) == []
    let_pass(fleet, 6)
    assert runs_to_close(fleet.engine) == [run.run_id]
    assert close_run(fleet.engine, run.run_id, actor="sweep")
    assert not close_run(fleet.engine, run.run_id, actor="sweep")
    assert fleet.get(run.run_id).state == "completed"
    trail = fleet.rows("SELECT action FROM flowshift.audit ORDER BY id")
    assert [row.action for row in trail][-2:] == ["run.completed", "run.closed"]


def test_a_run_with_no_batches_is_closed_and_one_with_open_batches_is_not(fleet: Fleet) -> None:
    empty = fleet.planned()
    fleet.add_many(2)
    full = fleet.planned(batch_size=1, allow_overlap=True)
    fleet.convert(full.run_id, 1)
    let_pass(fleet, 60)
    assert runs_to_close(fleet.engine) == [empty.run_id]


def test_while_one_sweeps_another_does_nothing(fleet: Fleet) -> None:
    with fleet.engine.begin() as connection:
        assert rescue.begin_sweep(connection)
        assert look(fleet) is None
