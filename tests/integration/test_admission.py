"""Admission in a worker: it waits in slices, one turn at a time, and never for a run that does not run."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import pytest

from tests.fleet import Fleet
from tests.queues import TestQueue
from worker.core.policy.batch_ref import BatchRef
from worker.core.policy.health import Verdict
from worker.core.policy.progress import Counts
from worker.db import admission, bots
from worker.errors import NotYetError
from worker.steps import transitions
from worker.steps.batch.admission import TURN_S
from worker.steps.batch.delivery import stay_with_paused
from worker.steps.batch.execute import execute
from worker.steps.batch.tally import Report
from worker.steps.throttle import Throttle, Timed

GO, WAIT = Verdict("go"), Verdict("wait", "query", "so it is")


class World:
    """A process whose time passes only while it sleeps, and whose throttle says what a test wants."""

    def __init__(self, fleet: Fleet, says: Callable[[], Verdict] = lambda: GO) -> None:
        self.now = 0.0
        self.rests = 0.0
        self.slept: list[float] = []
        self.queue = TestQueue()
        self.recorded: list[Timed] = []
        self.meanwhile: Callable[[], Any] = lambda: None
        self.check = self.check_now = says
        self.process = fleet.process(
            self.queue,
            throttle=cast("Throttle", self),
            clock=lambda: self.now,
            sleep=self.sleep,
        )

    def execute(self, run_id: int, number: int) -> Report | None:
        return execute(BatchRef(run_id, number), self.process)

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        self.rests = max(0.0, self.rests - seconds)
        self.slept.append(seconds)
        self.meanwhile()

    def rest_s(self) -> float:
        return self.rests

    def record(self, work: Timed) -> None:
        self.recorded.append(work)


def refuse_once(monkeypatch: pytest.MonkeyPatch, refusal: Exception) -> None:
    """Let the first claim be refused."""
    claim, refusals = admission.claim, [refusal]

    def refuse(*arguments: Any, **options: Any) -> Any:
        if refusals:
            raise refusals.pop()
        return claim(*arguments, **options)

    monkeypatch.setattr(admission, "claim", refuse)


@pytest.fixture
def run_id(fleet: Fleet) -> int:
    """A run of four batches, two of them in the queue."""
    fleet.add_many(4)
    run_id = fleet.planned(batch_size=1).run_id
    assert fleet.take(run_id, 2) == [1, 2]
    return run_id


def in_queue(fleet: Fleet, run_id: int) -> list[int]:
    query = (
        "SELECT number FROM flowshift.batches WHERE run_id = :run_id AND enqueued_at IS NOT NULL"
    )
    return sorted(row.number for row in fleet.rows(query, run_id=run_id))


def test_a_batch_that_may_begin_begins_at_once_and_is_recorded(fleet: Fleet, run_id: int) -> None:
    world = World(fleet)

    report = world.execute(run_id, 1)
    assert report is not None
    assert report.counts == Counts(converted=1, validated=1)
    assert (world.slept, world.recorded) == ([], [report])
    assert report.commit_ms > 0


def test_a_process_rests_before_its_next_batch_in_slices(fleet: Fleet, run_id: int) -> None:
    world = World(fleet)
    world.rests = 2.5
    world.execute(run_id, 1)
    assert world.slept == [1.0, 1.0, 0.5]


def test_a_batch_begins_when_the_wait_is_over_and_nothing_is_parked_any_more(
    fleet: Fleet, run_id: int
) -> None:
    answers = iter([WAIT, WAIT, GO])
    world = World(fleet, lambda: next(answers))
    seen: list[str | None] = []
    world.meanwhile = lambda: seen.append(fleet.progress(run_id).waiting)

    assert world.execute(run_id, 1) is not None
    assert world.slept == [1.0, 1.0]
    assert seen == ["query: so it is"] * 2
    assert fleet.progress(run_id).waiting is None


def test_after_its_turn_the_message_is_handed_on_and_the_batch_goes_on_waiting(
    fleet: Fleet, run_id: int
) -> None:
    world = World(fleet, lambda: WAIT)

    assert world.execute(run_id, 1) is None
    assert (world.now, world.queue.messages) == (TURN_S, [f"convert {run_id}/1"])
    assert fleet.progress(run_id).waiting == "query: so it is"
    assert World(fleet, lambda: WAIT).execute(run_id, 1) is None


def test_while_the_queue_is_away_a_batch_keeps_waiting_beyond_its_turn(
    fleet: Fleet, run_id: int
) -> None:
    world = World(fleet, lambda: WAIT if world.now < 2 * TURN_S else GO)
    world.queue.answering = False

    assert world.execute(run_id, 1) is not None
    assert world.now == 2 * TURN_S


def test_if_another_batch_waits_this_one_leaves_the_queue_at_once(
    fleet: Fleet, run_id: int
) -> None:
    World(fleet, lambda: WAIT).execute(run_id, 1)
    world = World(fleet, lambda: WAIT)

    assert world.execute(run_id, 2) is None
    assert (world.slept, in_queue(fleet, run_id)) == ([], [1])


def test_a_run_that_is_cancelled_while_it_waits_is_let_go_within_a_slice(
    fleet: Fleet, run_id: int
) -> None:
    world = World(fleet, lambda: WAIT)
    world.meanwhile = lambda: transitions.cancel(fleet.engine, run_id, actor="kim", reason=None)

    assert world.execute(run_id, 1) is None
    assert world.slept == [1.0]


def test_a_check_that_says_stop_pauses_the_run(fleet: Fleet, run_id: int) -> None:
    world = World(fleet, lambda: Verdict("stop", "query", "enough"))

    assert world.execute(run_id, 1) is None
    assert fleet.get(run_id).state == "paused"


def test_a_stop_that_was_read_a_moment_ago_and_holds_no_longer_stops_nothing(
    fleet: Fleet, run_id: int
) -> None:
    answers = iter([Verdict("stop", "query", "enough"), GO, GO])
    world = World(fleet, lambda: next(answers))

    assert world.execute(run_id, 1) is not None
    assert fleet.get(run_id).state == "running"


def test_a_paced_batch_waits_as_long_as_its_rate_says(
    fleet: Fleet, run_id: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    refuse_once(monkeypatch, NotYetError("max_rate", "2 bots a second", wait_s=0.25))
    world = World(fleet)

    assert world.execute(run_id, 1) is not None
    assert world.slept == [0.25]


def test_a_batch_too_many_at_once_leaves_the_queue_and_holds_up_no_other(
    fleet: Fleet, run_id: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    refuse_once(monkeypatch, NotYetError("concurrency", "2 batches at once are at work"))

    assert World(fleet).execute(run_id, 1) is None
    assert in_queue(fleet, run_id) == [2]
    assert fleet.progress(run_id).waiting is None
    assert fleet.take(run_id, 2) == [1]


def test_what_fails_while_it_waits_leaves_nothing_parked(
    fleet: Fleet, run_id: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = iter([WAIT, GO])
    refuse_once(monkeypatch, ZeroDivisionError())
    world = World(fleet, lambda: next(answers))
    seen: list[str | None] = []
    world.meanwhile = lambda: seen.append(fleet.progress(run_id).waiting)

    with pytest.raises(ZeroDivisionError):
        world.execute(run_id, 1)
    assert seen == ["query: so it is"]
    assert fleet.progress(run_id).waiting is None


def test_the_one_that_waited_lets_the_others_come_when_it_is_claimed(
    fleet: Fleet, run_id: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = iter([WAIT, GO])
    world = World(fleet, lambda: next(answers))
    began: list[list[int]] = []
    read = bots.read_chunks

    def look(*arguments: Any, **options: Any) -> Any:
        began.append(in_queue(fleet, run_id))
        return read(*arguments, **options)

    monkeypatch.setattr(bots, "read_chunks", look)
    world.execute(run_id, 1)
    assert began[0] == [1, 2, 3, 4]
    assert world.queue.messages == [f"convert {run_id}/3", f"convert {run_id}/4"]


def test_a_batch_that_another_worker_has_is_let_go(fleet: Fleet, run_id: int) -> None:
    assert fleet.claim(run_id, 1, worker="another") is not None
    world = World(fleet)
    assert world.execute(run_id, 1) is None
    assert (world.process.admission.claimed, world.recorded) == (None, [])


@pytest.mark.parametrize(("word", "goes_on"), [("resume", True), ("cancel", False)])
def test_a_process_that_works_without_the_queue_stays_with_a_paused_run(
    fleet: Fleet, run_id: int, word: str, goes_on: bool
) -> None:
    say = {"resume": transitions.resume, "cancel": transitions.cancel}[word]
    transitions.pause(fleet.engine, run_id, actor="kim", reason=None)
    world = World(fleet)
    world.queue.answering = False
    world.meanwhile = lambda: (
        say(fleet.engine, run_id, actor="kim", reason=None) if world.now > 3 else None
    )

    assert stay_with_paused(run_id, world.process, clock=lambda: world.now) is goes_on
    assert len(world.slept) == 4


def test_no_process_stays_with_a_paused_run_while_the_queue_answers(
    fleet: Fleet, run_id: int
) -> None:
    transitions.pause(fleet.engine, run_id, actor="kim", reason=None)
    world = World(fleet)

    assert stay_with_paused(run_id, world.process, clock=lambda: world.now) is False
    assert world.slept == []
