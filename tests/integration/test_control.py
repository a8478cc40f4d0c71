"""Control: what a person says, and what a run says itself, takes effect at the next batch."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import msgspec
import pytest

from migrations import upgrade
from tests.fleet import Fleet, a_broken_workflow, a_workflow
from worker.core.policy import circuit_breaker
from worker.core.policy.batch_ref import BatchRef
from worker.core.policy.health import Verdict
from worker.core.policy.states import RunState
from worker.db import batches, bots, ledger
from worker.db import control as control_table
from worker.errors import NotYetError, StaleError, UsageError
from worker.steps import breaker, parking, transitions, tuning
from worker.steps.batch.tally import Report
from worker.steps.finish import fail_batch, finish_run
from worker.steps.tuning import Tuning

WAITING = Verdict("wait", "lock_waits", "6 sessions wait")


def pause(fleet: Fleet, run_id: int, reason: str | None = None) -> bool:
    return transitions.pause(fleet.engine, run_id, actor="kim@ops", reason=reason)


def resume(fleet: Fleet, run_id: int) -> bool:
    return transitions.resume(fleet.engine, run_id, actor="kim@ops", reason="all clear")


def cancel(fleet: Fleet, run_id: int) -> bool:
    return transitions.cancel(fleet.engine, run_id, actor="kim@ops", reason=None)


def tune(fleet: Fleet, run_id: int, **limits: Any) -> dict[str, Any]:
    return tuning.tune(fleet.engine, run_id, Tuning(**limits), actor="kim@ops")


def convert(fleet: Fleet, run_id: int, number: int, target_ms: int = 0) -> Report:
    return fleet.convert(run_id, number, target_ms=target_ms)


def park(fleet: Fleet, run_id: int, number: int) -> bool:
    return parking.wait_for_run(fleet.engine, BatchRef(run_id, number), WAITING)


def actions(fleet: Fleet, run_id: int) -> list[tuple[str, str, str | None]]:
    rows = fleet.rows(
        "SELECT actor, action, reason FROM flowshift.audit WHERE run_id = :run_id ORDER BY id",
        run_id=run_id,
    )
    return [(row.actor, row.action, row.reason) for row in rows]


# -- pause, resume, cancel ---------------------------------------------------------------------


def test_nothing_of_a_paused_run_begins_or_is_published_until_it_is_resumed(fleet: Fleet) -> None:
    fleet.add_many(6)
    run = fleet.planned(batch_size=2)
    assert fleet.take(run.run_id, 2) == [1, 2]

    assert pause(fleet, run.run_id, "the primary is busy")
    assert fleet.try_convert(run.run_id, 1) is None  # its message is gone now
    assert fleet.take(run.run_id, 9) == []
    progress = fleet.progress(run.run_id)
    assert (progress.state, progress.reason) == ("paused", "the primary is busy")

    assert resume(fleet, run.run_id)
    assert fleet.take(run.run_id, 9) == [1, 2, 3]
    assert fleet.progress(run.run_id).reason is None


def test_a_batch_at_work_when_its_run_is_paused_commits(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    fleet.add_many(4)
    run = fleet.planned(batch_size=2)
    insert = ledger.insert_ledger

    def paused_meanwhile(*arguments: Any) -> None:
        pause(fleet, run.run_id)
        insert(*arguments)

    monkeypatch.setattr(ledger, "insert_ledger", paused_meanwhile)
    assert fleet.convert(run.run_id, 1).counts.converted == 2
    assert fleet.try_convert(run.run_id, 2) is None


def test_each_word_twice_is_one_word(fleet: Fleet) -> None:
    fleet.add_many(1)
    run_id = fleet.planned().run_id
    said = [
        (pause(fleet, run_id), pause(fleet, run_id)),
        (resume(fleet, run_id), resume(fleet, run_id)),
        (cancel(fleet, run_id), cancel(fleet, run_id)),
    ]
    assert said == [(True, False)] * 3


def test_the_audit_trail_says_who_and_why(fleet: Fleet) -> None:
    fleet.add_many(1)
    run_id = fleet.planned().run_id
    pause(fleet, run_id, "backup")
    resume(fleet, run_id)
    tune(fleet, run_id, concurrency=2)
    cancel(fleet, run_id)

    assert actions(fleet, run_id)[2:] == [
        ("kim@ops", "run.paused", "backup"),
        ("kim@ops", "run.running", "all clear"),
        ("kim@ops", "run.tuned", None),
        ("kim@ops", "run.cancelled", "asked by kim@ops"),
    ]
    with fleet.engine.connect() as connection:
        trail = control_table.trail(connection, run_id, 2)
        assert [entry.action for entry in trail] == ["run.tuned", "run.cancelled"]
        assert trail[0].detail == {"concurrency": [None, 2]}
        assert len(control_table.trail(connection, None, 99)) == 6


def test_a_run_that_is_cancelled_keeps_what_it_did_and_does_no_more(fleet: Fleet) -> None:
    ids = fleet.add_many(6)
    run = fleet.planned(batch_size=2)
    fleet.convert(run.run_id, 2)
    cancel(fleet, run.run_id)

    assert fleet.try_convert(run.run_id, 1) is None
    assert fleet.take(run.run_id, 9) == []
    assert finish_run(fleet.engine, run.run_id, actor="test") is None
    progress = fleet.progress(run.run_id)
    assert (progress.state, progress.counts.bots, progress.bots_total) == ("cancelled", 2, 6)
    assert set(fleet.drafts()) == set(ids[2:4])


def test_a_run_that_is_being_planned_can_be_cancelled_but_not_paused(fleet: Fleet) -> None:
    fleet.add_many(3)
    run_id = fleet.start().run_id
    with pytest.raises(UsageError, match="still being planned"):
        pause(fleet, run_id)
    assert cancel(fleet, run_id)


@pytest.mark.parametrize("word", [pause, resume, cancel, tune])
def test_a_run_that_is_over_is_left_alone_and_one_that_is_not_there_is_named(
    fleet: Fleet, word: Any
) -> None:
    over = fleet.run().run_id
    with pytest.raises(UsageError, match=f"run {over} is completed"):
        word(fleet, over)
    with pytest.raises(UsageError, match="there is no run 99"):
        word(fleet, 99)


def test_a_run_whose_last_batch_ended_while_it_was_paused_finishes_when_resumed(
    fleet: Fleet,
) -> None:
    run_id = fleet.planned().run_id
    pause(fleet, run_id)
    assert finish_run(fleet.engine, run_id, actor="test") is None
    resume(fleet, run_id)
    ended = finish_run(fleet.engine, run_id, actor="test")
    assert ended is not None
    assert ended.state == "completed"


# -- too many failures -------------------------------------------------------------------------


def test_a_run_that_fails_too_much_pauses_itself_with_the_reason(fleet: Fleet) -> None:
    fleet.add_many(60, "a-", a_broken_workflow())
    fleet.add_many(40, "b-")
    run = fleet.planned(batch_size=40)
    fleet.convert(run.run_id, 1)
    assert not breaker.stop_if_failing(fleet.engine, run.run_id)  # 40 bots are too few
    fleet.convert(run.run_id, 2)

    assert breaker.stop_if_failing(fleet.engine, run.run_id)
    assert not breaker.stop_if_failing(fleet.engine, run.run_id)
    reason = "60 of the last 80 bots (75%) failed with invalid_config, more than 50%"
    assert fleet.progress(run.run_id).reason == reason
    assert actions(fleet, run.run_id)[-1] == ("flowshift", "run.paused", reason)
    assert fleet.told() == [("run.paused", f"Run {run.run_id} (convert) paused itself", reason)]


def test_a_run_may_fail_as_much_as_its_options_say(fleet: Fleet) -> None:
    fleet.add_many(60, "a-", a_broken_workflow())
    fleet.add_many(40, "b-")
    run = fleet.planned(batch_size=80, max_failures=0.75)
    fleet.convert(run.run_id, 1)
    assert not breaker.stop_if_failing(fleet.engine, run.run_id)
    tune(fleet, run.run_id, max_failures=0.7)
    assert breaker.stop_if_failing(fleet.engine, run.run_id)


def test_a_run_that_was_resumed_is_judged_by_what_it_did_since(fleet: Fleet) -> None:
    fleet.add_many(60, "a-", a_broken_workflow())
    fleet.add_many(60, "b-")
    run = fleet.planned(batch_size=60)
    fleet.convert(run.run_id, 1)
    pause(fleet, run.run_id)
    resume(fleet, run.run_id)

    assert not breaker.stop_if_failing(fleet.engine, run.run_id)


def test_a_run_that_is_resumed_while_it_is_judged_goes_on(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    fleet.add_many(60, "a-", a_broken_workflow())
    fleet.add_many(60, "b-")
    run = fleet.planned(batch_size=60)
    fleet.convert(run.run_id, 1)
    judge = circuit_breaker.trip_reason

    def judge_and_resume(*judged: Any) -> str | None:
        monkeypatch.setattr(circuit_breaker, "trip_reason", judge)
        pause(fleet, run.run_id)
        resume(fleet, run.run_id)
        return judge(*judged)

    monkeypatch.setattr(circuit_breaker, "trip_reason", judge_and_resume)
    assert not breaker.stop_if_failing(fleet.engine, run.run_id)
    assert fleet.get(run.run_id).state == "running"


def test_the_window_moves_with_the_run(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(circuit_breaker, "WINDOW_BOTS", 60)
    fleet.add_many(60, "a-", a_broken_workflow())
    fleet.add_many(120, "b-")
    run = fleet.planned(batch_size=60)
    fleet.convert(run.run_id, 1)
    fleet.convert(run.run_id, 2)

    assert not breaker.stop_if_failing(fleet.engine, run.run_id)


def test_a_run_with_nothing_left_to_begin_is_not_paused(fleet: Fleet) -> None:
    fleet.add_many(60, "a-", a_broken_workflow())
    run = fleet.planned(batch_size=60)
    fleet.convert(run.run_id, 1)

    assert not breaker.stop_if_failing(fleet.engine, run.run_id)
    finish_run(fleet.engine, run.run_id, actor="test")
    assert fleet.get(run.run_id).state == "completed_with_failures"


def test_a_check_that_says_stop_pauses_the_run(fleet: Fleet) -> None:
    run_id = fleet.planned().run_id
    stop = Verdict("stop", "query", "the moon is full")

    assert breaker.stop_for_health(fleet.engine, run_id, lambda: stop)
    assert breaker.stop_for_health(fleet.engine, run_id, lambda: stop)
    assert fleet.progress(run_id).reason == "query: the moon is full"
    trail = fleet.rows("SELECT FROM flowshift.audit WHERE action = 'run.paused'")
    assert len(trail) == 1


def test_a_check_that_says_stop_no_longer_pauses_nothing(fleet: Fleet) -> None:
    run_id = fleet.planned().run_id

    assert not breaker.stop_for_health(fleet.engine, run_id, lambda: Verdict("go"))
    assert fleet.get(run_id).state == "running"


def test_nobody_lets_a_run_go_on_between_the_last_look_and_the_stop(fleet: Fleet) -> None:
    run_id = fleet.planned().run_id

    def ask() -> Verdict:
        free = "SELECT FROM flowshift.runs FOR UPDATE SKIP LOCKED"
        assert fleet.rows(free) == []
        return Verdict("stop", "query", "the moon is full")

    assert breaker.stop_for_health(fleet.engine, run_id, ask)


# -- waiting -----------------------------------------------------------------------------------


def test_one_batch_waits_for_its_whole_run_and_the_others_leave_the_queue(fleet: Fleet) -> None:
    fleet.add_many(8)
    run_id = fleet.planned(batch_size=2).run_id
    assert fleet.take(run_id, 3) == [1, 2, 3]

    assert park(fleet, run_id, 2)
    assert park(fleet, run_id, 2)
    assert not park(fleet, run_id, 1)
    assert fleet.progress(run_id).waiting == "lock_waits: 6 sessions wait"
    assert fleet.take(run_id, 4) == []

    parking.stop_waiting(
        fleet.engine, BatchRef(run_id, 1)
    )  # another's waiting is not its own to end
    assert fleet.progress(run_id).waiting is not None
    parking.stop_waiting(fleet.engine, BatchRef(run_id, 2))
    assert fleet.progress(run_id).waiting is None
    assert fleet.take(run_id, 4) == [1, 4]


def test_a_batch_that_waited_and_was_lost_makes_room_for_another(fleet: Fleet) -> None:
    fleet.add_many(4)
    run_id = fleet.planned(batch_size=2).run_id
    assert park(fleet, run_id, 1)
    fleet.execute("UPDATE flowshift.runs SET parked_until = now() - interval '1 s'")

    assert fleet.progress(run_id).waiting is None
    assert fleet.take(run_id, 4) == [1, 2]
    assert park(fleet, run_id, 2)


@pytest.mark.parametrize("word", [pause, cancel])
def test_waiting_ends_with_the_running(fleet: Fleet, word: Any) -> None:
    fleet.add_many(4)
    run_id = fleet.planned(batch_size=2).run_id
    assert park(fleet, run_id, 1)
    word(fleet, run_id)

    assert fleet.progress(run_id).waiting is None
    assert not park(fleet, run_id, 1)


# -- limits ------------------------------------------------------------------------------------


def test_no_more_batches_at_once_than_the_run_allows(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    fleet.add_many(40)
    run = fleet.planned(batch_size=2, concurrency=2)
    lock, at_once, most = threading.Lock(), 0, 0
    read = bots.read_chunks

    def counted(*arguments: Any, **options: Any) -> Any:
        nonlocal at_once, most
        with lock:
            at_once += 1
            most = max(most, at_once)
        try:
            yield from read(*arguments, **options)
        finally:
            with lock:
                at_once -= 1

    monkeypatch.setattr(bots, "read_chunks", counted)

    def until_done(number: int) -> None:
        while True:
            try:
                fleet.convert(run.run_id, number)
            except NotYetError:
                continue
            return

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(until_done, range(1, 21)))
    assert most <= 2
    assert fleet.progress(run.run_id).counts.converted == 40


def test_no_more_batches_are_in_the_queue_than_may_be_at_work(fleet: Fleet) -> None:
    fleet.add_many(10)
    run_id = fleet.planned(batch_size=1, concurrency=3).run_id
    assert fleet.take(run_id, 8) == [1, 2, 3]
    assert fleet.take(run_id, 8) == []
    fleet.convert(run_id, 2)
    assert fleet.take(run_id, 8) == [4]
    tune(fleet, run_id, concurrency=5)
    assert fleet.take(run_id, 8) == [5, 6]
    tune(fleet, run_id, concurrency=None, batch_window=7)
    assert fleet.take(run_id, 2) == [7, 8]


def test_a_batch_whose_worker_is_lost_does_not_count_as_at_work(fleet: Fleet) -> None:
    fleet.add_many(4)
    run_id = fleet.planned(batch_size=2, concurrency=1).run_id
    with fleet.engine.begin() as connection:
        batches.claim(connection, BatchRef(run_id, 1), worker="lost", lease_s=60)
    with pytest.raises(NotYetError):
        fleet.convert(run_id, 2)
    fleet.execute("UPDATE flowshift.batches SET lease_until = now() - interval '1 s'")

    assert fleet.convert(run_id, 2).counts.converted == 2


def test_a_batch_waits_until_the_rate_lets_it_through(fleet: Fleet) -> None:
    fleet.add_many(400)
    run_id = fleet.planned(batch_size=100, max_rate=10).run_id
    fleet.convert(run_id, 1)
    with pytest.raises(NotYetError) as refused:
        fleet.convert(run_id, 2)
    assert refused.value.check == "max_rate"
    assert 0 < refused.value.wait_s <= 10
    assert fleet.batch_slices(run_id)[1][5] == "pending"

    fleet.execute("UPDATE flowshift.runs SET paced_until = now() - interval '0.5 s'")
    assert fleet.convert(run_id, 2).counts.converted == 100
    tune(fleet, run_id, max_rate=None)
    assert fleet.convert(run_id, 3).counts.converted == 100


def test_of_two_batches_at_once_the_rate_lets_one_through(fleet: Fleet) -> None:
    fleet.add_many(40)
    run_id = fleet.planned(batch_size=10, max_rate=0.1).run_id

    def attempt(number: int) -> bool:
        try:
            fleet.convert(run_id, number)
        except NotYetError:
            return False
        return True

    with ThreadPoolExecutor(4) as pool:
        begun = list(pool.map(attempt, range(1, 5)))
    assert sum(begun) == 1


def test_of_a_paced_run_one_batch_waits_in_the_queue(fleet: Fleet) -> None:
    fleet.add_many(10)
    run_id = fleet.planned(batch_size=1, max_rate=1_000).run_id
    assert fleet.take(run_id, 8) == [1]
    assert fleet.take(run_id, 8) == []
    with fleet.engine.begin() as connection:
        batches.claim(connection, BatchRef(run_id, 1), worker="test", lease_s=60)
    assert fleet.take(run_id, 8) == [2]


@pytest.mark.parametrize(
    ("limits", "reason"),
    [
        ({"max_rate": 0.0}, "max rate"),
        ({"max_rate": float("nan")}, "max rate"),
        ({"concurrency": 0}, "concurrency"),
        ({"max_failures": 1.5}, "share of failures"),
        ({"batch_size": 10_001}, "batch size"),
    ],
)
def test_limits_that_make_no_sense_are_refused(
    fleet: Fleet, limits: dict[str, Any], reason: str
) -> None:
    with pytest.raises(UsageError, match=reason):
        fleet.start(**limits)
    run_id = fleet.start().run_id
    with pytest.raises(UsageError, match=reason):
        tune(fleet, run_id, **limits)


def test_tuning_says_what_changed(fleet: Fleet) -> None:
    run_id = fleet.planned(batch_size=50).run_id
    assert tune(fleet, run_id, batch_size=20, max_rate=2.5) == {
        "batch_size": [50, 20],
        "max_rate": [None, 2.5],
    }
    assert tune(fleet, run_id, batch_size=20) == {}
    assert fleet.get(run_id).options.batch_size == 20
    assert len([1 for _, action, _ in actions(fleet, run_id) if action == "run.tuned"]) == 1


# -- the size of batches -----------------------------------------------------------------------


def slow(fleet: Fleet, run_id: int, ms_per_bot: int) -> None:
    """Let the batches so far have taken so long."""
    fleet.execute(
        "UPDATE flowshift.batches SET duration_ms = bot_count * :ms"
        " WHERE run_id = :run_id AND state = 'done'",
        ms=ms_per_bot,
        run_id=run_id,
    )


@pytest.mark.parametrize("listed", [False, True])
def test_a_batch_that_would_last_too_long_is_cut_and_every_bot_stays_in_one(
    fleet: Fleet, listed: bool
) -> None:
    ids = fleet.add_many(100)
    run = fleet.planned(batch_size=40, **({"bot_ids": tuple(ids)} if listed else {}))
    convert(fleet, run.run_id, 1, target_ms=1_000)
    slow(fleet, run.run_id, 100)  # ten a second

    assert convert(fleet, run.run_id, 2, target_ms=1_000).counts.bots == 10
    cut = fleet.batch_slices(run.run_id)
    assert [(row[0], row[4], row[5]) for row in cut] == [
        (1, 40, "done"),
        (2, 10, "done"),
        (3, 20, "pending"),
        (4, 30, "pending"),
    ]
    progress = fleet.progress(run.run_id)
    assert (progress.batches_total, progress.bots_total, progress.counts.bots) == (4, 100, 50)

    number = 3
    while number <= fleet.get(run.run_id).batch_count:
        convert(fleet, run.run_id, number, target_ms=1_000)
        number += 1
    ended = finish_run(fleet.engine, run.run_id, actor="test")
    assert ended is not None
    assert (ended.state, ended.counts.converted) == ("completed", 100)
    assert set(fleet.outcomes(run.run_id)) == set(ids)


def test_batches_of_a_few_bots_say_nothing_of_how_large_one_may_be(fleet: Fleet) -> None:
    fleet.add_many(100)
    run = fleet.planned(batch_size=50)
    fleet.convert(run.run_id, 1)
    fleet.execute("UPDATE flowshift.batches SET converted = 9, duration_ms = 9000 WHERE number = 1")

    assert convert(fleet, run.run_id, 2, target_ms=1_000).counts.bots == 50


def test_a_bot_that_appears_on_the_edge_of_a_cut_is_in_one_batch(fleet: Fleet) -> None:
    fleet.add_many(40)
    run = fleet.planned(batch_size=20)
    fleet.convert(run.run_id, 1)
    slow(fleet, run.run_id, 100)
    convert(fleet, run.run_id, 2, target_ms=1_000)
    fleet.add("bot-00029a", a_workflow())
    fleet.add("bot-00030a", a_workflow())
    fleet.convert(run.run_id, 3)

    assert len(fleet.outcomes(run.run_id)) == 42


def test_a_range_that_lost_its_bots_is_not_cut(fleet: Fleet) -> None:
    fleet.add_many(60)
    run = fleet.planned(batch_size=30)
    fleet.convert(run.run_id, 1)
    slow(fleet, run.run_id, 100)
    fleet.execute("DELETE FROM bots WHERE bot_id > 'bot-00031'")

    assert convert(fleet, run.run_id, 2, target_ms=1_000).counts.bots == 2
    assert fleet.get(run.run_id).batch_count == 2


def test_whoever_claimed_a_batch_before_it_was_cut_does_no_bot_of_the_rest(fleet: Fleet) -> None:
    fleet.add_many(60)
    run = fleet.planned(batch_size=30)
    fleet.convert(run.run_id, 1)
    slow(fleet, run.run_id, 100)
    with fleet.engine.begin() as connection:
        whole = batches.claim(connection, BatchRef(run.run_id, 2), worker="given up", lease_s=60)
    assert whole is not None
    fleet.execute("UPDATE flowshift.batches SET state = 'pending' WHERE state = 'running'")

    assert convert(fleet, run.run_id, 2, target_ms=1_000).counts.bots == 10
    with fleet.engine.begin() as connection:
        assert not batches.lock_for_work(connection, whole)


def test_a_smaller_size_holds_for_batches_that_are_planned_already(fleet: Fleet) -> None:
    fleet.add_many(40)
    run = fleet.planned(batch_size=40)
    tune(fleet, run.run_id, batch_size=8)

    assert convert(fleet, run.run_id, 1, target_ms=1_000).counts.bots == 8


# -- overlap -----------------------------------------------------------------------------------


def test_a_second_run_over_the_fleet_is_refused_and_names_the_first(fleet: Fleet) -> None:
    fleet.add_many(3)
    first = fleet.start()
    with pytest.raises(UsageError, match=f"run {first.run_id} is planning .*--allow-overlap"):
        fleet.start()
    assert len(fleet.rows("SELECT FROM flowshift.runs")) == 1
    assert fleet.start(allow_overlap=True).state == "planning"


@pytest.mark.parametrize("active", ["running", "paused"])
def test_a_run_that_is_over_is_in_nobodys_way(fleet: Fleet, active: RunState) -> None:
    fleet.add_many(3)
    run_id = fleet.planned().run_id
    if active == "paused":
        pause(fleet, run_id)
    with pytest.raises(UsageError, match=f"is {active}"):
        fleet.start(limit=1)
    cancel(fleet, run_id)
    assert fleet.start(limit=1).state == "planning"


OVERLAPS: list[tuple[dict[str, Any], dict[str, Any], bool]] = [
    ({}, {"bot_ids": ("bot-00001",)}, True),
    ({"bot_ids": ("bot-00001",)}, {}, True),
    ({"limit": 2}, {"bot_ids": ("bot-00001",)}, True),
    ({"limit": 2}, {"bot_ids": ("bot-00002",)}, False),
    ({"bot_ids": ("bot-00001", "bot-00003")}, {"bot_ids": ("bot-00003",)}, True),
    ({"bot_ids": ("bot-00001",)}, {"bot_ids": ("bot-00002",)}, False),
]


@pytest.mark.parametrize(("first", "second", "overlap"), OVERLAPS)
def test_runs_overlap_where_they_share_a_bot(
    fleet: Fleet, first: dict[str, Any], second: dict[str, Any], overlap: bool
) -> None:
    fleet.add_many(5)
    fleet.start(**first)
    if overlap:
        with pytest.raises(UsageError, match="some of the same bots"):
            fleet.start(**second)
    else:
        fleet.start(**second)


@pytest.mark.parametrize(
    ("other", "overlap"), [("bot-00000", False), ("bot-00003", True), ("bot-00005", False)]
)
@pytest.mark.parametrize("retry_first", [True, False])
def test_the_ranges_of_a_retry_overlap_with_the_bots_in_them(
    fleet: Fleet, other: str, overlap: bool, retry_first: bool
) -> None:
    fleet.add_many(6)
    run = fleet.planned(batch_size=2)
    fleet.convert(run.run_id, 1)
    fail_batch(fleet.engine, BatchRef(run.run_id, 2), "a fault")
    fleet.convert(run.run_id, 3)
    finish_run(fleet.engine, run.run_id, actor="test")
    requests: list[dict[str, Any]] = [{"retry_of": run.run_id}, {"bot_ids": (other,)}]
    if not retry_first:
        requests.reverse()
    fleet.start(**requests[0])
    if overlap:
        with pytest.raises(UsageError, match="some of the same bots"):
            fleet.start(**requests[1])
    else:
        fleet.start(**requests[1])


def test_two_retries_of_one_range_overlap(fleet: Fleet) -> None:
    fleet.add_many(4)
    run = fleet.planned(batch_size=2)
    fail_batch(fleet.engine, BatchRef(run.run_id, 1), "a fault")
    fleet.convert(run.run_id, 2)
    finish_run(fleet.engine, run.run_id, actor="test")
    fleet.start(retry_of=run.run_id)
    with pytest.raises(UsageError, match="some of the same bots"):
        fleet.start(retry_of=run.run_id)


def test_of_two_runs_that_start_at_once_one_is_refused(fleet: Fleet) -> None:
    fleet.add_many(3)

    def attempt(_: int) -> bool:
        try:
            fleet.start()
        except UsageError:
            return False
        return True

    with ThreadPoolExecutor(4) as pool:
        started = list(pool.map(attempt, range(4)))
    assert sum(started) == 1


# -- the platform beside a batch ---------------------------------------------------------------


def test_a_save_by_the_platform_inside_a_batch_waits_for_that_batch_only_and_wins(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is let in by the first batch's commit, before the second begins, and its content counts."""
    fleet.add_many(4)
    run = fleet.planned(batch_size=2)
    changed = a_workflow("what a person saved {question}")
    saving = threading.Thread(target=fleet.change, args=("bot-00000", changed))
    complete = batches.complete

    def saved_meanwhile(*arguments: Any, **options: Any) -> bool:
        saving.start()
        waits = "SELECT FROM pg_stat_activity WHERE datname = current_database()"
        while not fleet.rows(f"{waits} AND wait_event_type = 'Lock'"):
            pass
        return complete(*arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(batches, "complete", saved_meanwhile)
        fleet.convert(run.run_id, 1)
    saving.join()  # though the run goes on

    [row] = fleet.rows("SELECT workflow FROM bots WHERE bot_id = 'bot-00000'")
    assert row.workflow == changed
    fleet.convert(run.run_id, 2)
    finish_run(fleet.engine, run.run_id, actor="test")
    assert fleet.run().counts.converted == 1  # the next run follows it
    assert "what a person saved" in msgspec.json.encode(fleet.drafts()["bot-00000"]).decode()


def test_a_save_that_came_first_is_what_is_converted(fleet: Fleet) -> None:
    fleet.add_many(2)
    run = fleet.planned()
    with fleet.connect() as platform, ThreadPoolExecutor(1) as pool:
        text = msgspec.json.encode(a_workflow("saved {question}")).decode()
        platform.execute("UPDATE bots SET workflow = %s::json WHERE bot_id = 'bot-00001'", [text])
        assert fleet.convert(run.run_id, 1).counts.converted == 1  # the other one's batch waits
        doing = pool.submit(fleet.convert, run.run_id, 2)
        waits = "SELECT FROM pg_stat_activity WHERE datname = current_database()"
        while not fleet.rows(f"{waits} AND wait_event_type = 'Lock'"):
            pass
        platform.commit()
        assert doing.result().counts.converted == 1
    assert "saved {question}" in msgspec.json.encode(fleet.drafts()["bot-00001"]).decode()


def test_a_message_of_a_cancelled_run_is_stale(fleet: Fleet) -> None:
    fleet.add_many(1)
    run = fleet.planned()
    cancel(fleet, run.run_id)
    with pytest.raises(StaleError):
        fleet.convert(run.run_id, 1)


def test_what_is_enqueued_and_parked_stays_so_when_its_columns_are_renamed(fleet: Fleet) -> None:
    fleet.add_many(3)
    run = fleet.planned(batch_size=1)
    fleet.execute("UPDATE flowshift.batches SET enqueued_at = '2026-01-01' WHERE number = 2")
    fleet.execute(
        "UPDATE flowshift.runs SET parked_batch = 1, parked_until = '2026-01-02', parked_check = 'lag',"
        " parked_reason = 'a standby is behind'"
    )
    upgrade.downgrade(fleet.engine, "0011")
    (old,) = fleet.rows("SELECT held_batch, held_check FROM flowshift.runs")
    assert tuple(old) == (1, "lag")
    upgrade.upgrade(fleet.engine)

    assert [
        bool(row.enqueued_at)
        for row in fleet.rows("SELECT enqueued_at FROM flowshift.batches ORDER BY number")
    ] == [False, True, False]
    found = fleet.get(run.run_id)
    assert (found.parked_batch, found.parked_reason) == (1, "a standby is behind")
