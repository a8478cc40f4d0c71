"""Waiting in a worker: in slices, one turn at a time, and never for a run that does not run."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import pytest

from tasks.waiting import TURN_S, Waiter
from tests.fleet import Fleet
from tests.queues import TestQueue
from worker.core.policy.health import Verdict
from worker.core.policy.progress import Counts
from worker.db import batches
from worker.errors import NotYetError
from worker.steps import transitions
from worker.steps.batch.tally import Report
from worker.steps.throttle import Gate

GO, WAIT = Verdict("go"), Verdict("wait", "query", "so it is")
DONE = Report(Counts(converted=1), {}, 400, 7.0)


class World:
    """A process whose time passes only while it sleeps, and whose gate says what a test wants."""

    def __init__(self, fleet: Fleet, says: Callable[[], Verdict] = lambda: GO) -> None:
        self.now = 0.0
        self.rests = 0.0
        self.slept: list[float] = []
        self.queue = TestQueue()
        self.noted: list[dict[str, float]] = []
        self.meanwhile: Callable[[], Any] = lambda: None
        self.verdict = self.verdict_now = says
        self.waiter = Waiter(
            fleet.current,
            self.queue,
            cast("Gate", self),
            lambda _: None,
            clock=lambda: self.now,
            sleep=self.sleep,
        )

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        self.rests = max(0.0, self.rests - seconds)
        self.slept.append(seconds)
        self.meanwhile()

    def rest_s(self) -> float:
        return self.rests

    def note(self, **times: float) -> None:
        self.noted.append(times)


@pytest.fixture
def run_id(fleet: Fleet) -> int:
    """A run of four batches, two of them in the queue."""
    fleet.add_many(4)
    run_id = fleet.planned(batch_size=1).run_id
    assert fleet.take(run_id, 2) == [1, 2]
    return run_id


def in_queue(fleet: Fleet, run_id: int) -> list[int]:
    query = (
        "SELECT number FROM flowshift.batches WHERE run_id = :run_id AND published_at IS NOT NULL"
    )
    return sorted(row.number for row in fleet.rows(query, run_id=run_id))


def test_a_batch_that_may_begin_begins_at_once_and_is_noted(fleet: Fleet, run_id: int) -> None:
    world = World(fleet)

    assert world.waiter.begin(run_id, 1, lambda _: DONE) == DONE
    assert (world.slept, world.queue.messages) == ([], [])
    assert world.noted == [{"duration_ms": 400, "commit_ms": 7.0}]


def test_a_process_rests_before_its_next_batch_in_slices(fleet: Fleet, run_id: int) -> None:
    world = World(fleet)
    world.rests = 2.5
    world.waiter.begin(run_id, 1, lambda _: DONE)
    assert world.slept == [1.0, 1.0, 0.5]


def test_a_batch_begins_when_the_wait_is_over_and_nothing_is_held_any_more(
    fleet: Fleet, run_id: int
) -> None:
    answers = iter([WAIT, WAIT, GO])
    world = World(fleet, lambda: next(answers))
    seen: list[str | None] = []
    world.meanwhile = lambda: seen.append(fleet.progress(run_id).waiting)

    assert world.waiter.begin(run_id, 1, lambda _: DONE) == DONE
    assert world.slept == [1.0, 1.0]
    assert seen == ["query: so it is"] * 2
    assert fleet.progress(run_id).waiting is None


def test_after_its_turn_the_message_is_handed_on_and_the_batch_goes_on_waiting(
    fleet: Fleet, run_id: int
) -> None:
    world = World(fleet, lambda: WAIT)

    assert world.waiter.begin(run_id, 1, lambda _: DONE) is None
    assert (world.now, world.queue.messages) == (TURN_S, [f"convert {run_id}/1"])
    assert fleet.progress(run_id).waiting == "query: so it is"
    assert World(fleet, lambda: WAIT).waiter.begin(run_id, 1, lambda _: DONE) is None


def test_where_another_batch_waits_this_one_leaves_the_queue_at_once(
    fleet: Fleet, run_id: int
) -> None:
    World(fleet, lambda: WAIT).waiter.begin(run_id, 1, lambda _: DONE)
    world = World(fleet, lambda: WAIT)

    assert world.waiter.begin(run_id, 2, lambda _: DONE) is None
    assert (world.slept, in_queue(fleet, run_id)) == ([], [1])


def test_a_run_that_is_cancelled_while_it_waits_is_let_go_within_a_slice(
    fleet: Fleet, run_id: int
) -> None:
    world = World(fleet, lambda: WAIT)
    world.meanwhile = lambda: transitions.cancel(fleet.engine, run_id, actor="kim", reason=None)

    assert world.waiter.begin(run_id, 1, lambda _: DONE) is None
    assert world.slept == [1.0]


def test_a_check_that_says_stop_pauses_the_run(fleet: Fleet, run_id: int) -> None:
    world = World(fleet, lambda: Verdict("stop", "query", "enough"))

    assert world.waiter.begin(run_id, 1, lambda _: DONE) is None
    assert fleet.get(run_id).state == "paused"


def test_a_stop_that_was_read_a_moment_ago_and_holds_no_longer_stops_nothing(
    fleet: Fleet, run_id: int
) -> None:
    answers = iter([Verdict("stop", "query", "enough"), GO, GO])
    world = World(fleet, lambda: next(answers))

    assert world.waiter.begin(run_id, 1, lambda _: DONE) == DONE
    assert fleet.get(run_id).state == "running"


def test_a_paced_batch_waits_as_long_as_its_rate_says(fleet: Fleet, run_id: int) -> None:
    refusals = iter([NotYetError("max_rate", "2 bots a second", wait_s=0.25), None])
    world = World(fleet)

    def attempt(_: object) -> Report:
        if refusal := next(refusals):
            raise refusal
        return DONE

    assert world.waiter.begin(run_id, 1, attempt) == DONE
    assert world.slept == [0.25]


def test_a_batch_too_many_at_once_leaves_the_queue_and_holds_nobody_up(
    fleet: Fleet, run_id: int
) -> None:
    def attempt(_: object) -> Report:
        raise NotYetError("concurrency", "2 batches at once are at work")

    assert World(fleet).waiter.begin(run_id, 1, attempt) is None
    assert in_queue(fleet, run_id) == [2]
    assert fleet.progress(run_id).waiting is None
    assert fleet.take(run_id, 2) == [1]


def test_what_fails_while_it_waits_leaves_nothing_held(fleet: Fleet, run_id: int) -> None:
    answers = iter([WAIT, GO])

    def attempt(_: object) -> Report:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        World(fleet, lambda: next(answers)).waiter.begin(run_id, 1, attempt)
    assert fleet.progress(run_id).waiting is None


def test_the_one_that_waited_lets_the_others_come_when_it_is_claimed(
    fleet: Fleet, run_id: int
) -> None:
    answers = iter([WAIT, GO])
    world = World(fleet, lambda: next(answers))

    def attempt(claimed: Callable[[Any], None]) -> Report:
        with fleet.engine.begin() as connection:
            batch = batches.claim(connection, run_id, 1, kind="convert", worker="test", lease_s=60)
        claimed(batch)
        return DONE

    world.waiter.begin(run_id, 1, attempt)
    assert in_queue(fleet, run_id) == [1, 2, 3, 4]


@pytest.mark.parametrize(("word", "goes_on"), [("resume", True), ("cancel", False)])
def test_whoever_works_without_the_queue_stays_with_a_paused_run(
    fleet: Fleet, run_id: int, word: str, goes_on: bool
) -> None:
    say = {"resume": transitions.resume, "cancel": transitions.cancel}[word]
    transitions.pause(fleet.engine, run_id, actor="kim", reason=None)
    world = World(fleet)
    world.queue.answering = False
    world.meanwhile = lambda: (
        say(fleet.engine, run_id, actor="kim", reason=None) if world.now > 3 else None
    )

    assert world.waiter.stay_with_paused(run_id) is goes_on
    assert len(world.slept) == 4


def test_nobody_stays_with_a_paused_run_while_the_queue_answers(fleet: Fleet, run_id: int) -> None:
    transitions.pause(fleet.engine, run_id, actor="kim", reason=None)
    world = World(fleet)

    assert world.waiter.stay_with_paused(run_id) is False
    assert world.slept == []
